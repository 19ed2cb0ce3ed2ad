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
    """A column's text, or several with an empty line between; `a.b` is b within a.

    Raises:
        ProsocialError: no such column, or one that holds no text.
    """
    names = [column] if isinstance(column, str) else column
    return "\n\n".join(text for text in (clean(value_of(row, name)) for name in names) if text)


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """What a column holds; errors as of `text_of`."""
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ProsocialError(
                f"a row has no column {column!r}; it has {sorted(map(str, row))}; the row begins {str(dict(row))[:160]}"
            )
        value = value[part]
    return value


def parsed(rows: Iterable[dict[str, Any]], parse: Mapping[str, str] | None) -> Iterator[dict[str, Any]]:
    """Rows with the named groups that regular expressions find in their columns; rows without a match are left out."""
    found = {column: compiled(expression, re.DOTALL) for column, expression in (parse or {}).items()}
    for row in rows:
        more: dict[str, Any] = {}
        for column, expression in found.items():
            match = expression.search(str(value_of(row, column)))
            if match is None:
                break
            more |= match.groupdict()
        else:
            yield row | more


def fitting(rows: Iterable[dict[str, Any]], where: Mapping[str, str] | None) -> Iterator[dict[str, Any]]:
    """Rows of which each named column, as text, matches its regular expression; a list fits if one item does."""
    wanted = {name: compiled(expression) for name, expression in (where or {}).items()}
    for row in rows:
        if all(any(expression.search(clean(one)) for one in _all_of(row, name)) for name, expression in wanted.items()):
            yield row


def compiled(expression: str, flags: int = 0) -> re.Pattern[str]:
    """A regular expression.

    Raises:
        ProsocialError: it is none.
    """
    try:
        return re.compile(expression, flags)
    except re.error as error:
        raise ProsocialError(f"{expression!r} is no regular expression: {error}") from error


def _all_of(row: Mapping[str, Any], column: str) -> list[Any]:
    value = value_of(row, column)
    return value if isinstance(value, list) else [value]


def number_of(row: Mapping[str, Any], column: str) -> float:
    """A column's number.

    Raises:
        ProsocialError: none.
    """
    value = value_of(row, column)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ProsocialError(
            f"column {column!r} should hold numbers, found {value!r}; the row begins {str(dict(row))[:160]}"
        ) from None


def most_say(row: Mapping[str, Any], columns: Sequence[str], expression: str) -> bool:
    """Whether more than half of the votes in some columns, as text, match a regular expression; lists hold several."""
    votes = [clean(one) for name in columns for one in _all_of(row, name)]
    return 2 * sum(compiled(expression).search(one) is not None for one in votes) > len(votes)
