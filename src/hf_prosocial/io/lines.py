"""Files that are added to by the line, and what a kill left of the last one."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .atomic import write_text
from .text import read_text


def whole_lines_of(path: Path) -> list[str]:
    """The lines of a file that `append_json_lines` writes, but for a last one that a kill cut off."""
    text = read_text(path)
    return text[: text.rfind("\n") + 1].split("\n")[:-1]


def mend_lines(path: Path) -> None:
    """Take that last line away, before the file is gone on with. Only once it is known to be the file that is meant."""
    text = read_text(path)
    if not text.endswith("\n"):
        write_text(path, text[: text.rfind("\n") + 1])


def append_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add a line for each row, and see them onto the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
