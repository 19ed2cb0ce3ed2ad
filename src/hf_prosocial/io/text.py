"""Text files as people have them: with byte order marks, in UTF-16, compressed."""

import codecs
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # Before UTF-16, whose mark it begins with.
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GZIP = b"\x1f\x8b"


def read_text(path: str | Path) -> str:
    """A file's text: UTF-8, or what its byte order mark says; gzip is unpacked. Line ends stay as they are.

    Raises:
        OSError: no such file.
        ProsocialError: other bytes; the file is named.
    """
    content = Path(path).read_bytes()
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ProsocialError(f"{path} is not whole gzip ({error}); compress or download it again") from error
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ProsocialError(
            f"{path} is not text in {encoding.upper()} ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def json_of(path: str | Path) -> Any:
    """A JSON file's content.

    Raises:
        OSError: no such file.
        ProsocialError: it is not JSON; the file is named.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProsocialError(f"{path} is not JSON ({error})") from error


def json_rows(path: str | Path) -> list[tuple[int, Any]]:
    """The rows of a file of JSON lines, or of one JSON array: each with its number from 1, as a line or as an object.

    Blank lines are no rows; an array's rows are counted as they stand in it.

    Raises:
        OSError: no such file.
        ProsocialError: it is not text, or begins as an array and is none.
    """
    # Only line feeds end a line: JSON strings may hold what else Python takes for an end.
    lines = enumerate(read_text(path).split("\n"), start=1)
    filled = [(number, line) for number, line in lines if line.strip()]
    if filled and filled[0][1].lstrip().startswith("["):
        try:
            whole = json_of(path)
        except ProsocialError:
            whole = None  # Rows that are arrays themselves, or an array with a fault.
            if not _is_json(filled[0][1]):
                raise
        if isinstance(whole, list):
            return list(enumerate(whole, start=1))
    return filled


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
