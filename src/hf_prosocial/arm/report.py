"""Margins as figures for machines and as tables for people."""

from dataclasses import asdict

from hf_prosocial.estimates import Estimate
from hf_prosocial.io import markdown_table
from hf_prosocial.records import Interval, MarginSummary, ObjectiveMargins

from .margins import Margins

_COLUMNS = {
    "own": "own one-hot p",
    "uniform": "uniform p",
    "own_summed": "own, summed",
    "raw": "own, raw",
    "raw_base": "untrained, raw",
    "longer_wins": "longer wins",
    "control": "control (nats/token)",
}


def margin_summary(margins: Margins) -> MarginSummary:
    """All figures of METHOD's margins: accuracies with intervals, control, and what length alone scores."""
    k = len(margins.objectives)
    figures: dict[str, ObjectiveMargins] = {}
    for index, name in enumerate(margins.objectives):
        figures[name] = ObjectiveMargins(
            pairs=int((margins.objective == index).sum().item()),
            own=_interval(margins.accuracy(index, index, per_token=True)),
            uniform=_interval(margins.accuracy(index, k, per_token=True)),
            own_summed=_interval(margins.accuracy(index, index, per_token=False)),
            raw=_interval(margins.raw_accuracy(index, index)),
            raw_base=_interval(margins.raw_accuracy(index, None)),
            longer_wins=_interval(margins.longer_wins(index)),
            control=_interval(margins.control(index, per_token=True)),
            control_summed=_interval(margins.control(index, per_token=False)),
        )
    cells = [[margins.control_cell(row, column, per_token=True) for column in range(k)] for row in range(k)]
    return MarginSummary(
        objectives=figures,
        mean_accuracy=sum(one.own.mean for one in figures.values()) / k,
        control_matrix=margins.control_matrix(per_token=True).tolist(),
        control_half_widths=[[(cell.high - cell.low) / 2 for cell in row] for row in cells],
    )


def margin_table(summary: MarginSummary) -> str:
    """What `margin_summary` gave as Markdown tables."""
    objectives = list(summary.objectives)
    accuracies = [
        [name, str(figures.pairs), *(str(getattr(figures, column)) for column in _COLUMNS)]
        for name, figures in summary.objectives.items()
    ]
    matrix = [
        [name, *(f"{value:+.3f} ± {width:.3f}" for value, width in zip(row, widths, strict=True))]
        for name, row, widths in zip(objectives, summary.control_matrix, summary.control_half_widths, strict=True)
    ]
    mean = f"Mean accuracy under the own one-hot preference, per token: {summary.mean_accuracy:.3f}"
    first = markdown_table(["objective", "pairs", *_COLUMNS.values()], accuracies)
    return "\n\n".join([first, mean, markdown_table(["one-hot p \\ pairs of", *objectives], matrix)])


def _interval(estimate: Estimate) -> Interval:
    return Interval(**asdict(estimate))
