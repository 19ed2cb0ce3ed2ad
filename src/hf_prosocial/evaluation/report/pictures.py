"""Pictures of an evaluation, from its metrics."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from hf_prosocial.evaluation.answers import DEGENERATE
from hf_prosocial.judges import REFUSAL
from hf_prosocial.preference import Preference
from hf_prosocial.records import Metrics


def draw_all(metrics: Metrics, folder: Path) -> list[str]:
    """Draw whatever the metrics hold.

    Args:
        metrics: what was found.
        folder: where the pictures go.

    Returns:
        the names of the files, in the order that a report shows them.

    Raises:
        ImportError: matplotlib is not installed (the extra `evaluate`).
    """
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    # A dollar sign in a name is no formula.
    with rc_context({"text.parse_math": False}):
        return _draw_all(metrics, folder)


def _draw_all(metrics: Metrics, folder: Path) -> list[str]:
    found: list[str] = []
    figures = metrics.figures
    if "harm" in figures:
        found.append(_draw_harm(figures["harm"], folder / "harm.png"))
    for name, variants in figures.get("over_refusal", {}).items():
        found.append(_draw_refusals(variants, folder / f"refusals-{_plain(name)}.png"))
    for name, all_variants in figures.get("rewards", {}).items():
        # Of a variant whose replies have no rewards, or of objectives that no judge can tell, there is nothing to draw.
        variants = {one: own for one, own in all_variants.items() if "means" in own and isinstance(own["mip"], Mapping)}
        if not variants:
            continue
        if any("control_matrix" in one for one in variants.values()):
            found.append(_draw_control(variants, metrics.objectives, folder / f"control-{_plain(name)}.png"))
        if _fronts(variants, metrics.objectives):
            found.append(_draw_fronts(variants, metrics.objectives, folder / f"fronts-{_plain(name)}.png"))
        moved = {one: metrics.capability.get(one, {}).get("divergence_tempered") for one in variants}
        if sum(one is not None for one in moved.values()) > 1:
            found.append(_draw_gains(metrics, variants, moved, folder / f"gains-{_plain(name)}.png"))
    return found


def _draw_harm(benchmarks: Mapping[str, Any], file: Path) -> str:
    from matplotlib.figure import Figure

    variants = list(dict.fromkeys(name for one in benchmarks.values() for name in one))
    figure_name = "asr" if "asr" in next(iter(next(iter(benchmarks.values())).values())) else "non_refusal"
    figure = Figure(figsize=(1.5 + 1.8 * len(benchmarks), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(variants)
    for place, variant in enumerate(variants):
        answered = [index for index, one in enumerate(benchmarks.values()) if variant in one]
        rates = [one[variant][figure_name] for one in benchmarks.values() if variant in one]
        at = np.array(answered) + (place - (len(variants) - 1) / 2) * width
        heights = np.array([rate["mean"] for rate in rates])
        bars = np.array([[rate["mean"] - rate["low"], rate["high"] - rate["mean"]] for rate in rates]).T
        axes.bar(at, heights, width, yerr=np.maximum(bars, 0), label=variant, capsize=2, color=f"C{place}")
    axes.set_xticks(np.arange(len(benchmarks)), list(benchmarks))
    axes.set_ylim(0, 1)
    axes.set_title("attack success rate" if figure_name == "asr" else "share not refused")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(file, dpi=120)
    return file.name


def _draw_refusals(variants: Mapping[str, Any], file: Path) -> str:
    from matplotlib.figure import Figure

    labels = list(next(iter(variants.values())))
    kinds = [*REFUSAL, DEGENERATE]
    figure = Figure(figsize=(4.5 * len(labels), 1.2 + 0.4 * len(variants)), layout="constrained")
    panels = figure.subplots(1, len(labels), sharey=True, squeeze=False)[0]
    colours = ("tab:green", "tab:olive", "tab:red", "tab:gray")
    for axes, label in zip(panels, labels, strict=True):
        left = np.zeros(len(variants))
        for kind, colour in zip(kinds, colours, strict=True):
            shares = np.array([one[label][kind]["mean"] for one in variants.values()])
            axes.barh(list(variants), shares, left=left, label=kind.replace("_", " "), color=colour)
            left += shares
        axes.set_title(f"replies to {label} prompts")
        axes.set_xlim(0, 1)
    panels[0].invert_yaxis()  # shared by all
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    figure.savefig(file, dpi=120)
    return file.name


def _draw_control(variants: Mapping[str, Any], objectives: Sequence[str], file: Path) -> str:
    from matplotlib.figure import Figure

    # What no judge can tell is NaN, and None where it was read from a file.
    chosen = {
        name: np.array(one["control_matrix"], dtype=float) for name, one in variants.items() if "control_matrix" in one
    }
    # The effect of a preference: a column less its mean, so that what all preferences share does not drown it.
    effects = {name: matrix - matrix.mean(0) for name, matrix in chosen.items() if np.ptp(matrix, axis=0).any()}
    effects = effects or {name: matrix - matrix.mean(0) for name, matrix in chosen.items()}
    most = max(float(np.nanmax(np.abs(effect))) for effect in effects.values()) or 1.0
    figure = Figure(figsize=(1.5 + 3.4 * len(effects), 4.2), layout="constrained")
    panels = figure.subplots(1, len(effects), squeeze=False)[0]
    image: Any = None
    for axes, (name, effect) in zip(panels, effects.items(), strict=True):
        image = axes.imshow(effect, cmap="RdBu", vmin=-most, vmax=most)
        axes.set_xticks(range(len(objectives)), objectives, rotation=45, ha="right", fontsize="small")
        axes.set_yticks(range(len(objectives)), objectives if axes is panels[0] else [""] * len(objectives))
        for row, column in np.ndindex(effect.shape):
            told = "" if np.isnan(effect[row, column]) else f"{effect[row, column]:+.2f}"
            axes.text(column, row, told, ha="center", va="center", fontsize=7)
        axes.set_title(name, fontsize="medium")
    figure.colorbar(image, ax=panels, label="standard deviations over the column's mean")
    figure.supylabel("one-hot preference")
    figure.supxlabel("reward")
    figure.savefig(file, dpi=120)
    return file.name


def _draw_fronts(variants: Mapping[str, Any], objectives: Sequence[str], file: Path) -> str:
    from matplotlib.figure import Figure

    pairs = _fronts(variants, objectives)
    columns = min(5, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.1 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, ((one, other), said) in zip(panels, pairs.items(), strict=False):
        first, second = objectives.index(one), objectives.index(other)
        for place, (name, figures) in enumerate(variants.items()):
            points = np.array([figures["means"][preference] for preference in said])[:, [first, second]]
            axes.plot(*points.T, "o-", markersize=3, linewidth=1, label=name, color=f"C{place}")
        axes.set_xlabel(one)
        axes.set_ylabel(other)
        axes.grid(alpha=0.3)
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(variants))
    figure.suptitle("mean rewards along the edges between two objectives, standard deviations over the reference")
    figure.savefig(file, dpi=110)
    return file.name


def _draw_gains(metrics: Metrics, variants: Mapping[str, Any], moved: Mapping[str, Any], file: Path) -> str:
    """MIP against the divergence; variants that differ in strength alone are one line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.subplots()
    methods: dict[tuple[Any, ...], list[str]] = {}
    for name in variants:
        if moved[name] is not None:
            own = metrics.variants[name]["variant"]
            method = tuple(value for key, value in own.items() if key not in ("beta", "scale"))
            methods.setdefault(method, []).append(name)
    for place, names in enumerate(methods.values()):
        names = sorted(names, key=lambda name: moved[name]["mean"])
        x = [moved[name]["mean"] for name in names]
        mips = [variants[name]["mip"] for name in names]
        y = np.array([one["mean"] for one in mips])
        bars = [y - [one["low"] for one in mips], [one["high"] for one in mips] - y]
        axes.errorbar(x, y, yerr=np.maximum(bars, 0), fmt="o-", capsize=2, linewidth=1, color=f"C{place}")
        for name, across, up in zip(names, x, y, strict=True):
            axes.annotate(name, (across, up), xytext=(4, 4), textcoords="offset points", fontsize=7, color=f"C{place}")
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.margins(x=0.18)  # The last point's name needs room.
    axes.set_xlabel(f"KL to {metrics.reference} at temperature 1 + β, nats per token")
    axes.set_ylabel("mean inner product of preference and rewards")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)
    return file.name


def _fronts(variants: Mapping[str, Any], objectives: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """The preferences on each edge of the simplex, in order; of edges with three points or more."""
    means = next(iter(variants.values()))["means"]
    said = list(means)
    parsed = {one: Preference.parse(one, normalize=True, objectives=objectives) for one in said}
    told = [
        name for name, value in zip(objectives, means[said[0]], strict=True) if value is not None and np.isfinite(value)
    ]
    found = {}
    for one, other in combinations(told, 2):
        on_edge = [name for name, weights in parsed.items() if abs(weights[one] + weights[other] - 1) < 1e-9]
        if len(on_edge) >= 3:
            found[one, other] = sorted(on_edge, key=lambda name: parsed[name][one])
    return found


def _plain(name: str) -> str:
    return name.replace(" ", "-")
