"""Pictures of a training, from its log: how well each objective is ordered, and which of them conflict."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

CURVES, CONFLICTS = "training-curves.png", "training-conflicts.png"
_WINDOW = 9  # log lines that a smoothed curve averages over


def draw_training(log: Sequence[Mapping[str, Any]], objectives: Sequence[str], folder: str | Path) -> list[str]:
    """Draw what `ArmTrainer` logged: accuracies and margins; and where gradients were kept apart, their cosines.

    Args:
        log: `trainer.state.log_history`.
        objectives: the names, in order.
        folder: where the pictures go.

    Returns:
        the names of the files.

    Raises:
        ImportError: matplotlib is not installed (the extra `train`).
    """
    from matplotlib import rc_context

    lines = [line for line in log if "loss" in line and "step" in line]
    if not lines:
        return []
    steps = np.array([line["step"] for line in lines])
    # A dollar sign in an objective's name is no formula.
    with rc_context({"text.parse_math": False}):
        _draw_curves(lines, steps, objectives, Path(folder) / CURVES)
        if not any("conflicts" in line for line in lines):
            return [CURVES]
        _draw_conflicts(lines, steps, objectives, Path(folder) / CONFLICTS)
    return [CURVES, CONFLICTS]


def _draw_curves(lines: Sequence[Mapping[str, Any]], steps: np.ndarray, objectives: Sequence[str], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, kind, title in (
        (panels[0], "accuracy", "pairs that the loss's margin has in order, in training"),
        (panels[1], "margin", "margin of the loss, nats, in training"),
    ):
        for index, name in enumerate(objectives):
            values = _values(lines, f"{kind}/{name}")
            axes.plot(steps, values, color=f"C{index}", alpha=0.2, linewidth=1)
            axes.plot(steps, _smooth(values), color=f"C{index}", label=name)
        axes.set_title(title)
        axes.grid(alpha=0.3)
    panels[0].legend(ncols=len(objectives), fontsize="small", loc="lower center")
    panels[1].set_xlabel(f"optimiser step (thick: mean of {_WINDOW} log lines)")
    figure.savefig(file, dpi=120)


def _draw_conflicts(
    lines: Sequence[Mapping[str, Any]], steps: np.ndarray, objectives: Sequence[str], file: Path
) -> None:
    from matplotlib.figure import Figure

    pairs = list(combinations(objectives, 2))
    cosines = np.array([_values(lines, f"cosine/{one}~{other}") for one, other in pairs])
    figure = Figure(figsize=(10, 2.5 + 0.35 * len(pairs)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(max(2, 0.35 * len(pairs)), 1.5), sharex=True)
    most = float(np.nanmax(np.abs(cosines), initial=1e-6))
    edges = np.concatenate([steps[:1] - np.diff(steps, prepend=0)[:1], steps])
    image = above.pcolormesh(edges, np.arange(len(pairs) + 1), cosines, cmap="RdBu", vmin=-most, vmax=most)
    above.invert_yaxis()
    above.set_yticks(np.arange(len(pairs)) + 0.5, [f"{one} ~ {other}" for one, other in pairs])
    above.set_title("cosine of two objectives' gradients (red: they conflict)")
    figure.colorbar(image, ax=above)
    for key, label in (
        ("conflicts", "share of pairs in conflict"),
        ("update_change", "relative change of the update"),
    ):
        below.plot(steps, _smooth(_values(lines, key)), label=label)
    below.set_ylim(bottom=0)
    below.set_xlabel("optimiser step")
    below.grid(alpha=0.3)
    below.legend(fontsize="small")
    figure.savefig(file, dpi=120)


def _values(lines: Sequence[Mapping[str, Any]], key: str) -> Float[np.ndarray, " lines"]:
    """A figure over the log lines, NaN where it was not seen."""
    return np.array([float(line.get(key, np.nan)) for line in lines])


def _smooth(values: Float[np.ndarray, " lines"]) -> Float[np.ndarray, " lines"]:
    """The mean of the values around each, NaN left out."""
    seen = np.isfinite(values)
    kernel = np.ones(min(_WINDOW, len(values)))
    counts = np.convolve(seen.astype(float), kernel, mode="same")
    sums = np.convolve(np.where(seen, values, 0.0), kernel, mode="same")
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
