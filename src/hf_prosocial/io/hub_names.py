"""Names that stand for a directory or for a repository of the Hub."""

import re
from pathlib import Path

_HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")


def check_hub_id(name: str) -> None:
    """Refuse what is rather a mistyped directory: no Hub id, or its parent is here.

    Raises:
        FileNotFoundError: which directory.
    """
    parent = Path(name).parent
    if str(parent) != "." and parent.is_dir():
        beside = sorted(path.name for path in parent.iterdir() if path.is_dir())
        raise FileNotFoundError(f"no directory {name}; {parent} holds {', '.join(beside[:8]) or 'no directory'}")
    if not _HUB_ID.fullmatch(name):
        raise FileNotFoundError(f"no directory {name}, and no Hub id either")
