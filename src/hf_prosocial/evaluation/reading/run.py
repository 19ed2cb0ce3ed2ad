"""`prosocial evaluate read`: from kept replies to a reader's labels and what they say."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hf_prosocial.io import write_json

from .items import read_items
from .labels import HOW, ReadingStore
from .outcome import outcome_of
from .session import Ask, Show, read_on_terminal, take_sheet, write_sheet

READING = "reading"


@dataclass(frozen=True)
class ReadingPlan:
    """What is read.

    Attributes:
        benchmark: of the evaluation.
        variants: whose replies; none means all.
        count: of prompts; None is all.
        seed: of the order.
    """

    benchmark: str
    variants: Sequence[str] = ()
    count: int | None = None
    seed: int = 0


def read_replies(out: Path, plan: ReadingPlan, show: Show, ask: Ask, sheet: Path | None = None) -> str:
    """Have replies read on a terminal, or by a sheet: written if there is none, else taken back.

    Labels are kept in `out`/reading/labels.jsonl, the outcome in `out`/reading/BENCHMARK.json; neither holds a reply.

    Args:
        out: the folder of a finished evaluation.
        plan: what is read.
        show: as of `read_on_terminal`.
        ask: likewise.
        sheet: a CSV file.

    Returns:
        What was found in all that was read of the benchmark, as Markdown; what to do while some is still to be read.

    Raises:
        ProsocialError, OSError: as of `read_items` and `take_sheet`.
    """
    items = read_items(out, plan.benchmark, plan.variants, plan.count, plan.seed)
    store = ReadingStore(out / READING / "labels.jsonl")
    if sheet is None:
        read_on_terminal(items, store, show, ask)
    elif not sheet.exists():
        write_sheet(items, store, sheet)
        return f"{sheet}: fill in the column `say` ({HOW}), and give the same command again"
    else:
        take_sheet(items, sheet, store)
    left = sum(store.of(item) is None for replies in items for item in replies)
    if left:
        # What one has read so far would tell whose the next reply is.
        return f"{left} of {sum(map(len, items))} replies are still to be read; give the same command again"
    # Whatever else of this benchmark was read counts as well.
    every = read_items(out, plan.benchmark, (), None, 0)
    read = [(item, said) for replies in every for item in replies if (said := store.of(item)) is not None]
    outcome = outcome_of(read, out)
    write_json(out / READING / f"{plan.benchmark}.json", {"benchmark": plan.benchmark, "outcome": asdict(outcome)})
    return str(outcome)
