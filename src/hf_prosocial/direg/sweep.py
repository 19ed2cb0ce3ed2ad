"""Which λ and which density: several measured on one loaded model, edited in memory, and the front of the two ends."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import append_json_lines, mend_lines, progress_bar, read_text
from hf_prosocial.records import ChoicePoint

from .harm_vector import HarmVector

Measure = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Limit:
    """What an edit may cost: the figure may rise by at most `most` over the base's (or fall, if it is negative)."""

    figure: str
    most: float

    def holds(self, point: ChoicePoint, base: ChoicePoint) -> bool:
        """Whether a point is within the limit."""
        change = point.figures[self.figure] - base.figures[self.figure]
        return change <= self.most if self.most >= 0 else change >= self.most


def sweep(
    model: nn.Module,
    vectors: Mapping[str, HarmVector],
    scales: Sequence[float],
    measures: Mapping[str, Measure],
    log: str | Path,
) -> list[ChoicePoint]:
    """Measure the base and every vector at every λ; the model is as before afterwards.

    Args:
        model: θ, loaded.
        vectors: by name.
        scales: λ, each above 0.
        measures: figures of a model, by name.
        log: JSON lines, one a point, written as they come; points that stand there are not measured again.

    Returns:
        The base first, then the vectors' points in order.

    Raises:
        ValueError: a vector that does not fit the model, a λ that is not above 0, or a log of other measures.
    """
    if not all(scale > 0 for scale in scales):
        raise ProsocialError(f"scales must be above 0, found {list(scales)}; the base is measured besides")
    log = Path(log)
    known = {(point.vector, point.scale): point for point in read_points(log)} if log.exists() else {}
    for point in known.values():
        if set(point.figures) != set(measures):
            raise ProsocialError(f"{log} holds {sorted(point.figures)}, not {sorted(measures)}; choose another log")
    if log.exists():
        mend_lines(log)
    wanted = [("base", 0.0), *((name, float(scale)) for name in vectors for scale in scales)]
    parameters = dict(model.named_parameters())
    points = []
    progress = progress_bar(len(wanted), "sweep", "point")
    for name, scale in wanted:
        if (name, scale) not in known:
            figures = _measured(model, parameters, vectors.get(name), scale, measures)
            known[name, scale] = ChoicePoint(name, scale, figures)
            append_json_lines(log, [asdict(known[name, scale])])
        points.append(known[name, scale])
        progress.update()
    progress.close()
    return points


def read_points(log: str | Path) -> list[ChoicePoint]:
    """The points of a log; a last line that was cut off by a kill is left out."""
    points = []
    lines = read_text(log).split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            points.append(ChoicePoint(**json.loads(line)))
        except (ValueError, TypeError):
            if line and number < len(lines) - 1:
                raise ProsocialError(f"{log}, line {number}: no point of a sweep") from None
    return points


def front(points: Sequence[ChoicePoint], raised: str, cost: str) -> list[ChoicePoint]:
    """The Pareto front: points that no other beats in both a higher `raised` and a lower `cost`, by cost."""
    best: list[ChoicePoint] = []
    for point in sorted(points, key=lambda point: (point.figures[cost], -point.figures[raised])):
        if not best or point.figures[raised] > best[-1].figures[raised]:
            best.append(point)
    return best


def choose(points: Sequence[ChoicePoint], raised: str, limits: Sequence[Limit]) -> tuple[ChoicePoint, str]:
    """The point of the highest `raised` within the limits, and the reason in words; the base where none gains.

    Args:
        points: from `sweep`, the base first.
        raised: the figure to raise.
        limits: what it may cost.
    """
    base = points[0]
    gaining = [point for point in points[1:] if point.figures[raised] > base.figures[raised]]
    within = [point for point in gaining if all(limit.holds(point, base) for limit in limits)]
    terms = ", ".join(f"{limit.figure} {limit.most:+g} at most" for limit in limits)
    if not within:
        return base, f"no point raises {raised} within the limits ({terms})"
    best = max(within, key=lambda point: point.figures[raised])
    gain = best.figures[raised] - base.figures[raised]
    return best, f"{best.vector} at λ {best.scale:g} raises {raised} most ({gain:+.3f}) within the limits ({terms})"


def draw_fronts(points: Sequence[ChoicePoint], raised: str, cost: str, chosen: ChoicePoint, file: str | Path) -> None:
    """Each vector's points in the plane of cost and gain, joined by λ, with the front over all of them.

    Raises:
        ImportError: matplotlib is not installed (the extra `report`).
    """
    from matplotlib.figure import Figure

    base = points[0]
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots()
    # What counts happens near the base, where a linear scale heaps the points up.
    axes.set_xscale("symlog", linthresh=0.02)
    axes.set_yscale("symlog", linthresh=0.5)

    def place(point: ChoicePoint) -> tuple[float, float]:
        return point.figures[cost] - base.figures[cost], point.figures[raised] - base.figures[raised]

    for name in dict.fromkeys(point.vector for point in points[1:]):
        of_vector = sorted((point for point in points if point.vector == name), key=lambda point: point.scale)
        axes.plot(*zip((0.0, 0.0), *map(place, of_vector), strict=True), marker=".", label=name)
        for point in of_vector:
            axes.annotate(f"λ {point.scale:g}", place(point), fontsize=7, xytext=(3, 3), textcoords="offset points")
    best = [place(point) for point in front(points, raised, cost)]
    axes.plot(*zip(*best, strict=True), color="black", linestyle=":", label="front")
    axes.plot(
        *place(chosen), marker="o", markersize=12, fillstyle="none", color="black", linestyle="none", label="chosen"
    )
    axes.set_xlabel(f"{cost}, change from the base")
    axes.set_ylabel(f"{raised}, change from the base")
    figure.legend(loc="outside right upper")
    figure.savefig(file, dpi=120)


def _measured(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    vector: HarmVector | None,
    scale: float,
    measures: Mapping[str, Measure],
) -> dict[str, float]:
    if vector is None:
        return {name: measure(model) for name, measure in measures.items()}
    touched = [name for name, tensor in vector.record.tensors.items() if tensor.kept]
    # Copies, because adding back what was subtracted would leave rounding behind, point after point.
    before = {name: parameters[name].detach().clone() for name in touched if name in parameters}
    try:
        vector.subtract_from(model, scale)
        return {name: measure(model) for name, measure in measures.items()}
    finally:
        with torch.no_grad():
            for name, weights in before.items():
                parameters[name].copy_(weights)
