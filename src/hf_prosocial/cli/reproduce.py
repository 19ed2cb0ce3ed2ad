"""`prosocial reproduce`: whether a record's hashes can be had again."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from hf_prosocial.reproduce import Comparison, Reproduction


def run_reproduce(record: Path, out: Path | None, base: str | None, vector: str | None) -> None:
    """Check the record, or make what it describes again at `out`; print every hash.

    Raises:
        ValueError: a hash differs, or there was nothing at hand to hash.
    """
    reproduction = Reproduction(record, base, vector)
    comparisons = reproduction.check() if out is None else reproduction.make(out)
    console = Console()
    Console(width=None if console.is_terminal else 120).print(_table(comparisons))
    failed = [comparison for comparison in comparisons if not comparison.holds]
    if failed:
        raise ValueError(f"{len(failed)} of {len(comparisons)} hashes are not as recorded: {failed[0].what}")


def _table(comparisons: list[Comparison]) -> Table:
    table = Table("", "recorded", "found", "")
    for comparison in comparisons:
        found = "not at hand" if comparison.found is None else comparison.found[:16]
        verdict = "same" if comparison.holds else "DIFFERS" if comparison.found else "MISSING"
        table.add_row(comparison.what, comparison.recorded[:16], found, verdict)
    return table
