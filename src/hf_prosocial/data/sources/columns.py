"""What converters read from a row's columns."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hf_prosocial.errors import ProsocialError

from .made import Rows, clean


def chained(rows: Rows) -> Iterator[dict[str, Any]]:
    """The rows of all files, one after another."""
    for of_file in rows.values():
        yield from of_file


def text_of(row: Mapping[str, Any], column: str | Sequence[str]) -> str:
    """A column's text, or several with an empty line between; `a.b` is b within a, and a list's texts are joined.

    Raises:
        ProsocialError: no such column.
    """
    names = [column] if isinstance(column, str) else column
    return "\n\n".join(text for text in (clean(value_of(row, name)) for name in names) if text)


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """What a column holds; errors as of `text_of`."""
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ProsocialError(f"a row has no column {column!r}; it has {sorted(map(str, row))}")
        value = value[part]
    return value


def parsed(rows: Iterable[dict[str, Any]], parse: Mapping[str, str] | None) -> Iterator[dict[str, Any]]:
    """Rows with the named groups that regular expressions find in their columns; rows without a match are left out."""
    for row in rows:
        more: dict[str, Any] = {}
        for column, expression in (parse or {}).items():
            match = re.search(expression, str(value_of(row, column)), re.DOTALL)
            if match is None:
                break
            more |= match.groupdict()
        else:
            yield row | more


def fitting(rows: Iterable[dict[str, Any]], where: Mapping[str, str] | None) -> Iterator[dict[str, Any]]:
    """Rows of which each named column, as text, matches its regular expression; a list fits if one item does."""
    for row in rows:
        values = {name: value_of(row, name) for name in where or {}}
        if all(_fits(values[name], expression) for name, expression in (where or {}).items()):
            yield row


def _fits(value: Any, expression: str) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(re.search(expression, clean(one)) is not None for one in values)


def number_of(row: Mapping[str, Any], column: str) -> float:
    """A column's number.

    Raises:
        ProsocialError: none.
    """
    value = value_of(row, column)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ProsocialError(f"column {column!r} should hold numbers, found {value!r}") from None


def most_say(row: Mapping[str, Any], columns: Sequence[str], expression: str) -> bool:
    """Whether more than half of the columns, as text, match a regular expression."""
    return 2 * sum(_fits(value_of(row, name), expression) for name in columns) > len(columns)
