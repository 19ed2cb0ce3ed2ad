"""Rows of the files that sources come in."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_of, json_rows, read_text


def read_rows(path: Path) -> Sequence[dict[str, Any]]:
    """Rows of CSV, of JSON lines, or of JSON, compressed by gzip or not.

    Of JSON, an array's objects are rows, and of texts `{"text": ...}`. An object is one row.

    Raises:
        OSError: no such file.
        ProsocialError: another kind of file, or a row that is none.
    """
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if kind == "csv":
        return _table(path)
    if kind == "jsonl":
        return [_object(path, line, row) for line, row in json_rows(path)]
    if kind == "json":
        whole = json_of(path)
        rows = whole if isinstance(whole, list) else [whole]
        return [{"text": row} if isinstance(row, str) else _object(path, at, row) for at, row in enumerate(rows, 1)]
    raise ProsocialError(f"{path} is neither .csv, .json nor .jsonl (with .gz or without); convert it")


def _table(path: Path) -> list[dict[str, Any]]:
    csv.field_size_limit(1 << 31)
    try:
        # Fields may hold line ends, which splitting by lines would lose.
        lines = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
        rows = list(lines)
    except csv.Error as error:
        raise ProsocialError(f"{path} is not whole CSV ({error}); is a quotation mark missing?") from error
    names = lines.fieldnames or []
    if len(set(names)) < len(names):
        raise ProsocialError(f"{path}: a column's name stands twice in the first line: {names}")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise ProsocialError(f"{path}, row {number}: {len(names)} columns were expected, as in the first line")
    return rows


def _object(path: Path, line: int, row: Any) -> dict[str, Any]:
    if isinstance(row, str):
        try:
            row = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise ProsocialError(f"{path}, row {line}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ProsocialError(f"{path}, row {line}: an object is needed, found {type(row).__name__}")
    return row
