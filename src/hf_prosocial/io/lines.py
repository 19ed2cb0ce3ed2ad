"""Text files by the line: reading them, adding to them, and what a kill left of the last line."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .atomic import write_text


def lines_of(path: str | Path) -> list[str]:
    """A text file's lines. Only line feeds end them: JSON strings may hold what else Python takes for an end."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def whole_lines_of(path: Path) -> list[str]:
    """The lines of a file that `append_json_lines` writes, but for a last one that a kill cut off."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].split("\n")[:-1]


def mend_lines(path: Path) -> None:
    """Take that last line away, before the file is gone on with. Only once it is known to be the file that is meant."""
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        write_text(path, text[: text.rfind("\n") + 1])


def append_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add a line for each row, and see them onto the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
