"""Tables of what commands found."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from hf_prosocial.data import BuiltData
    from hf_prosocial.hub import Comparison
    from hf_prosocial.records import ChoicePoint, Metrics


def show_metrics(metrics: "Metrics", out: Path) -> None:
    """The main figures of an evaluation, its failure signatures, and where the report is."""
    from hf_prosocial.evaluation import REPORT, main_figures

    console, table = Console(), Table("variant", "benchmark", "figure", "value")
    for row in main_figures(metrics):
        table.add_row(*row)
    console.print(table)
    for one in metrics.signatures:
        console.print(f"[bold]{one.name}[/bold]: {one.variant} on {one.benchmark}: {one.found}")
    console.print(f"The report: {out / REPORT}")


def show_comparisons(comparisons: Sequence["Comparison"]) -> None:
    """Every hash that was compared."""
    table = Table("", "recorded", "found", "")
    for comparison in comparisons:
        found = "not at hand" if comparison.found is None else comparison.found[:16]
        verdict = "same" if comparison.holds else "DIFFERS" if comparison.found else "MISSING"
        table.add_row(comparison.what, comparison.recorded[:16], found, verdict)
    Console(width=None if Console().is_terminal else 120).print(table)


def show_points(points: Sequence["ChoicePoint"], reason: str) -> None:
    """The points of a sweep, and why one was chosen."""
    table = Table("vector", "λ", *points[0].figures)
    for point in points:
        table.add_row(point.vector, f"{point.scale:g}", *(f"{value:.4f}" for value in point.figures.values()))
    Console().print(table)
    print(reason)


def show_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under their heads."""
    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 160).print(table)


def show_built_data(built: "BuiltData") -> None:
    """Sources and files of a built folder, its objectives, and what was left out."""
    record = built.record
    handed_on = {True: "yes", False: "no"}
    rows = [(name, one.licence, handed_on[one.redistribute], one.about) for name, one in record.sources.items()]
    show_table(("source", "licence", "may be handed on", "read of it"), rows)
    files = [(name, f"{one.rows:,}", f"{one.bytes:,}") for name, one in record.files.items()]
    show_table(("file", "rows", "bytes"), files)
    heads = ("objective", "pairs", "groups", "held out", "groups of these", "characters of a pair")
    heads += ("prompts in both", "replies in both", "near-duplicates")
    figures = [
        (
            *(name, f"{one.train:,}", f"{one.train_groups:,}", f"{one.held_out:,}", f"{one.held_out_groups:,}"),
            *(f"{one.shortest} to {one.longest} (median {one.median})", str(one.shared_prompts)),
            *(str(one.shared_replies), str(one.near)),
        )
        for name, one in built.objectives.items()
    ]
    show_table(heads, figures)
    left = [(name, why, f"{count:,}") for name, own in record.left_out.items() for why, count in own.items()]
    if left:
        show_table(("left out of", "since", "rows"), left)
