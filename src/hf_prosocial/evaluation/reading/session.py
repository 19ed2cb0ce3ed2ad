"""Reading on a terminal, or in a sheet that any program for tables opens."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import read_text, write_text

from .items import Item
from .labels import HOW, ReadingStore, parse_reading

COLUMNS = ("number", "prompt", "reply", "say")
Show = Callable[[str], None]
Ask = Callable[[str], str]


def read_on_terminal(items: Sequence[Sequence[Item]], store: ReadingStore, show: Show, ask: Ask) -> None:
    """Show each prompt with its replies, unnamed, and keep what the reader says of each; on from where it stopped.

    Args:
        items: from `read_items`.
        store: of the labels.
        show: prints a text.
        ask: shows a question, and gives the line that the reader types; "q" ends.
    """
    show(f"{HOW}; q ends, and what was read is kept.")
    for number, replies in enumerate(items, start=1):
        left = [(letter, one) for letter, one in _lettered(replies) if store.of(one) is None]
        if not left:
            continue
        show(f"\n--- {number} of {len(items)}\n{_conversation(replies[0])}")
        for letter, item in _lettered(replies):
            show(f"\n[{letter}] {item.reply}")
        for letter, item in left:
            if not _asked(letter, item, store, show, ask):
                return


def _asked(letter: str, item: Item, store: ReadingStore, show: Show, ask: Ask) -> bool:
    """Ask until the reader's line is a label, or ends the reading."""
    while True:
        said = ask(letter).strip()
        if said.lower() == "q":
            return False
        try:
            store.add(parse_reading(item, said))
        except ProsocialError as error:
            show(str(error))
        else:
            return True


def write_sheet(items: Sequence[Sequence[Item]], store: ReadingStore, file: Path) -> None:
    """Write a CSV of prompts and replies, unnamed, with a column for what the reader says, and has said before.

    Raises:
        FileExistsError: there is a file.
    """
    if file.exists():
        raise FileExistsError(f"{file} exists")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for name, item in _numbered(items):
        before = store.of(item)
        writer.writerow([name, _conversation(item), item.reply, "" if before is None else before.said])
    write_text(file, text.getvalue())


def take_sheet(items: Sequence[Sequence[Item]], file: Path, store: ReadingStore) -> None:
    """Keep what a filled sheet says, all of it or nothing; rows may be in any order, or left out.

    Raises:
        ProsocialError: no such columns, other replies than `items`, or a word that is no label, by its number.
    """
    text = read_text(file)
    # Programs for tables write separators and line ends of their own.
    separator = max(",;\t", key=text.partition("\n")[0].count)
    rows = list(csv.DictReader(io.StringIO(text), delimiter=separator))
    missing = [name for name in ("number", "reply", "say") if not rows or name not in rows[0]]
    if missing:
        raise ProsocialError(f"{file} has no column {' and '.join(missing)}; write it anew and fill in `say` alone")
    expected, found = dict(_numbered(items)), []
    for row in rows:
        item = expected.get(row["number"])
        if item is None or (row["reply"] or "").splitlines() != item.reply.splitlines():
            raise ProsocialError(
                f"{file}, {row['number']}: not the reply that was written there; give the benchmark, variants, count "
                "and seed that made the sheet, or write it anew"
            )
        if (row["say"] or "").strip():
            try:
                found.append(parse_reading(item, row["say"]))
            except ProsocialError as error:
                raise ProsocialError(f"{file}, {row['number']}: {error}") from error
    for one in found:
        store.add(one)


def _numbered(items: Sequence[Sequence[Item]]) -> Iterator[tuple[str, Item]]:
    for number, replies in enumerate(items, start=1):
        for letter, item in _lettered(replies):
            yield f"{number}{letter}", item


def _lettered(replies: Sequence[Item]) -> list[tuple[str, Item]]:
    return [(chr(ord("A") + row), one) for row, one in enumerate(replies)]


def _conversation(item: Item) -> str:
    return "\n".join(f"{role}: {content}" for role, content in item.prompt.conversation)
