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
    show(HOW)
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


def write_sheet(items: Sequence[Sequence[Item]], file: Path) -> None:
    """Write a CSV of prompts and replies, unnamed, with an empty column for what the reader says.

    Raises:
        FileExistsError: there is a file.
    """
    if file.exists():
        raise FileExistsError(f"{file} exists")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for name, item in _numbered(items):
        writer.writerow([name, _conversation(item), item.reply, ""])
    write_text(file, text.getvalue())


def take_sheet(items: Sequence[Sequence[Item]], file: Path, store: ReadingStore) -> int:
    """Keep what a filled sheet says, and return how many replies it says nothing of.

    Raises:
        ProsocialError: other replies than `items`, or a word that is no label, by its number.
    """
    rows = list(csv.DictReader(io.StringIO(read_text(file))))
    expected = dict(_numbered(items))
    if [row.get("number") for row in rows] != list(expected):
        raise ProsocialError(f"{file} has other replies than these; give the benchmark, count and seed that made it")
    for row in rows:
        item = expected[row["number"]]
        # Programs for tables write line ends of their own.
        if row["reply"].splitlines() != item.reply.splitlines():
            raise ProsocialError(f"{file}, {row['number']}: the reply is not the one that was written; write it anew")
        if (row["say"] or "").strip():
            try:
                store.add(parse_reading(item, row["say"]))
            except ProsocialError as error:
                raise ProsocialError(f"{file}, {row['number']}: {error}") from error
    return sum(not (row["say"] or "").strip() for row in rows)


def _numbered(items: Sequence[Sequence[Item]]) -> Iterator[tuple[str, Item]]:
    for number, replies in enumerate(items, start=1):
        for letter, item in _lettered(replies):
            yield f"{number}{letter}", item


def _lettered(replies: Sequence[Item]) -> list[tuple[str, Item]]:
    return [(chr(ord("A") + row), one) for row, one in enumerate(replies)]


def _conversation(item: Item) -> str:
    return "\n".join(f"{role}: {content}" for role, content in item.prompt.conversation)
