"""Margins as a table for people and as figures for machines."""

from dataclasses import asdict
from typing import Any

from hf_prosocial.estimates import Estimate

from .margins import Margins


def margin_summary(margins: Margins) -> dict[str, Any]:
    """All figures of METHOD's margins: accuracies with intervals, control, and what length alone scores.

    Keys: per objective `own` and `uniform` (per-token accuracy under the own one-hot and the uniform preference),
    `own_summed`, `raw`, `raw_base`, `longer_wins`, `control`, `control_summed`; then `mean_accuracy` and
    `control_matrix` (row one-hot p, column objective; per token, nats) and the half widths of its intervals.
    """
    k = len(margins.objectives)
    figures: dict[str, Any] = {}
    for index, name in enumerate(margins.objectives):
        figures[name] = {
            "pairs": int((margins.objective == index).sum().item()),
            "own": asdict(margins.accuracy(index, index, per_token=True)),
            "uniform": asdict(margins.accuracy(index, k, per_token=True)),
            "own_summed": asdict(margins.accuracy(index, index, per_token=False)),
            "raw": asdict(margins.raw_accuracy(index, index)),
            "raw_base": asdict(margins.raw_accuracy(index, None)),
            "longer_wins": asdict(margins.longer_wins(index)),
            "control": asdict(margins.control(index, per_token=True)),
            "control_summed": asdict(margins.control(index, per_token=False)),
        }
    return {
        "objectives": figures,
        "mean_accuracy": sum(figures[name]["own"]["mean"] for name in margins.objectives) / k,
        "control_matrix": margins.control_matrix(per_token=True).tolist(),
        "control_half_widths": [
            [_half_width(margins.control_cell(row, column, per_token=True)) for column in range(k)] for row in range(k)
        ],
    }


def margin_table(margins: Margins) -> str:
    """The same as Markdown tables."""
    summary = margin_summary(margins)
    columns = ("own", "uniform", "own_summed", "raw", "raw_base", "longer_wins", "control")
    heads = (
        "own one-hot p",
        "uniform p",
        "own, summed",
        "own, raw",
        "untrained, raw",
        "longer wins",
        "control (nats/token)",
    )
    lines = ["| objective | pairs | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for name, figures in summary["objectives"].items():
        cells = [str(Estimate(**figures[column])) for column in columns]
        lines.append(f"| {name} | {figures['pairs']} | " + " | ".join(cells) + " |")
    lines += ["", f"Mean accuracy under the own one-hot preference, per token: {summary['mean_accuracy']:.3f}", ""]
    lines.append("| one-hot p \\ pairs of | " + " | ".join(margins.objectives) + " |")
    lines.append("|---" * (len(margins.objectives) + 1) + "|")
    rows = zip(margins.objectives, summary["control_matrix"], summary["control_half_widths"], strict=True)
    for name, row, widths in rows:
        cells = (f"{value:+.3f} ± {width:.3f}" for value, width in zip(row, widths, strict=True))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _half_width(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2
