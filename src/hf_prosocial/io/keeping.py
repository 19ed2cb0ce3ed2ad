"""Values that are computed once and kept in a file with the settings that they follow from."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .atomic import write_text
from .text import json_of

_Values = TypeVar("_Values")


def kept(path: Path, settings: Mapping[str, Any], compute: Callable[[], _Values]) -> _Values:
    """What was computed once: read where it was computed from the same settings, else computed and written.

    Args:
        path: where it is kept.
        settings: all that it follows from, hashes among it.
        compute: the values, as JSON has them.
    """
    settings = json.loads(json.dumps(settings))
    if path.is_file():
        content = json_of(path)
        if isinstance(content, dict) and content.keys() == {"settings", "values"} and content["settings"] == settings:
            return content["values"]
    values = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not write_json, whose null for what is not finite would be read as another value than was computed.
    write_text(path, json.dumps({"settings": settings, "values": values}) + "\n")
    return values
