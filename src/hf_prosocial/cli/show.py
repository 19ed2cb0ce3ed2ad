"""Tables of what commands found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from hf_prosocial.records import known, not_told

if TYPE_CHECKING:
    from hf_prosocial.hub import Comparison
    from hf_prosocial.records import ChoicePoint, Metrics


def show_metrics(metrics: "Metrics", out: Path) -> None:
    """The main figures of an evaluation, its failure signatures, and where the report is."""
    from hf_prosocial.evaluation import REPORT

    console = Console()
    table = Table("variant", "benchmark", "figure", "value")
    for name, one in metrics.figures.get("harm", {}).items():
        for variant, values in one.items():
            kind = "asr" if "asr" in values else "non_refusal"
            table.add_row(variant, name, kind.replace("_", " "), _said(values[kind]))
    for name, one in metrics.figures.get("over_refusal", {}).items():
        for variant, values in one.items():
            table.add_row(variant, name, "safe prompts refused in full", _said(values["safe"]["full_refusal"]))
    for name, one in metrics.figures.get("rewards", {}).items():
        for variant, values in one.items():
            table.add_row(variant, name, "mean inner product", _said(values["mip"]))
            table.add_row(variant, name, "hypervolume", _said(values["hypervolume"]))
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


def _said(found: Mapping[str, Any]) -> str:
    if not known(found["mean"]):
        return not_told(found["count"])
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}] ({found['count']})"
