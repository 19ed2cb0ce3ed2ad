"""Small files: their hashes, lines that are added one by one, and writing beside and renaming: none is half there."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def sha256(path: str | Path) -> str:
    """Of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write beside and rename. A figure that is not finite is null, JSON having no word for it."""
    write_text(path, json.dumps(_as_json(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: Path, text: str) -> None:
    """Write beside and rename."""
    beside = path.with_name(path.name + ".partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


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
