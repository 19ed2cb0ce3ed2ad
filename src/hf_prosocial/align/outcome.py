"""What a user is told at the end: what got better, what it cost, and what to do next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_prosocial.estimates import Estimate, proportion
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.hub import hub_id_of
from hf_prosocial.records import TRAINING, AlignRecord, Interval, Metrics, TrainingRecord, known

from .evidence import placeholder_of

_NOTICEABLE, _CHANCE = 0.03, 0.5
_PERPLEXITY = 1.02


def warnings_of(metrics: Metrics) -> list[str]:
    """What each variant does worse than the base: harm, refusals of safe prompts and of people, and perplexity."""
    found = []
    by_benchmark = list(metrics.figures.get("harm", {}).values())
    for variant in metrics.variants:
        for key in ("asr", "asr" + _SECOND):
            own, base = (_pooled([one[name] for one in by_benchmark], key) for name in (variant, metrics.reference))
            if own is not None and base is not None and own.mean - base.mean > _NOTICEABLE:
                said = "" if key == "asr" else _SECOND
                found.append(
                    f"{variant}: complies with more harmful requests than the base: {own.mean:.2f} "
                    f"[{own.low:.2f}, {own.high:.2f}] of {own.count}, the base {base.mean:.2f}{said}"
                )
    for name, by_variant in metrics.figures.get("over_refusal", {}).items():
        safe = {variant: one["safe"]["refused"] for variant, one in by_variant.items()}
        found += _more_refused(metrics.reference, safe, f"{name}'s safe prompts")
    for name, by_variant in metrics.figures.get("rewards", {}).items():
        refused = {variant: one["refused"] for variant, one in by_variant.items()}
        found += _more_refused(metrics.reference, refused, f"requests of {name}")
    base = metrics.capability.get(metrics.reference, {}).get("perplexity_tempered")
    for variant, one in metrics.capability.items():
        ratio = one["perplexity_tempered"]["mean"] / base["mean"] if base else 1.0
        if ratio > _PERPLEXITY:
            found.append(f"{variant}: perplexity is {100 * (ratio - 1):.1f} % above the base's")
    return found + [f"{one.variant} on {one.benchmark}: {one.name}: {one.found}" for one in metrics.signatures]


COLUMNS = ("variant", "harmful requests complied with", "safe prompts refused", "people turned away", "perplexity")
_SECOND = " (second opinion)"


def summary_of(metrics: Metrics) -> list[tuple[str, ...]]:
    """A row a variant, under `COLUMNS`: shares with intervals, the second opinion below the first; empty if not asked.

    Harmful requests of all benchmarks are counted together.
    """
    rows = []
    for variant in metrics.variants:
        harm = list(metrics.figures.get("harm", {}).values())
        refused = [one[variant]["safe"] for one in metrics.figures.get("over_refusal", {}).values()]
        people = [one[variant] for one in metrics.figures.get("rewards", {}).values()]
        capability = metrics.capability.get(variant, {}).get("perplexity_tempered")
        rows.append(
            (
                variant,
                _both([one[variant] for one in harm if "asr" in one[variant]], "asr"),
                _both(refused, "refused"),
                _both(people, "refused"),
                "" if capability is None else f"{capability['mean']:.2f}",
            )
        )
    return rows


def better_than_base(metrics: Metrics) -> list[str]:
    """Variants that comply with fewer harmful requests than the base, by every opinion, their intervals apart."""
    by_benchmark = list(metrics.figures.get("harm", {}).values())

    def share(variant: str, key: str) -> Estimate | None:
        return _pooled([one[variant] for one in by_benchmark], key)

    found = []
    for variant in metrics.variants:
        told = [(share(variant, key), share(metrics.reference, key)) for key in ("asr", "asr" + _SECOND)]
        whole = [(own, base) for own, base in told if own is not None and base is not None]
        if whole and all(own.high < base.low for own, base in whole):
            said = " and ".join(f"{own.mean:.2f} for {base.mean:.2f}" for own, base in whole)
            found.append(f"{variant}: complies with fewer harmful requests than the base: {said}")
    return found


def _both(figures: Sequence[Mapping[str, Any]], key: str) -> str:
    told = [_pooled(figures, name) for name in (key, key + _SECOND)]
    return "\n".join(f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in told if one is not None)


def _pooled(figures: Sequence[Mapping[str, Any]], key: str) -> Estimate | None:
    """Wilson's interval for a share over all prompts of several benchmarks; None where none tells it."""
    told = [one[key] for one in figures if key in one and known(one[key]["mean"])]
    count = sum(one["count"] for one in told)
    if not count:
        return None
    yes = round(sum(one["mean"] * one["count"] for one in told))
    return proportion(torch.tensor([1.0] * yes + [-1.0] * (count - yes)))


def _more_refused(reference: str, refused: Mapping[str, Mapping[str, Any]], what: str) -> list[str]:
    base = refused[reference]
    return [
        f"{variant}: refuses {100 * (one['mean'] - base['mean']):.0f} % more of {what} than the base "
        f"({one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}] of {one['count']}, the base {base['mean']:.2f})"
        for variant, one in refused.items()
        if known(one["mean"]) and known(base["mean"]) and one["mean"] - base["mean"] > _NOTICEABLE
    ]


def warnings_of_parts(out: Path, made: Mapping[str, str]) -> list[str]:
    """What is wrong with what was made, whatever an evaluation says: an ARM or a gate that tells nothing apart.

    Args:
        out: the folder.
        made: of its record.
    """
    found = []
    if "arm" in made:
        dev = TrainingRecord.read(out / made["arm"] / TRAINING).dev
        for name, one in (dev.objectives if dev is not None else {}).items():
            if one.own.low <= _CHANCE:
                found.append(f"arm: is not shown to order held-out pairs of {name} better than chance ({one.own})")
    if "gated vector" in made:
        figures = GatedHarmVector.from_pretrained(out / made["gated vector"]).record.figures
        for name, figure in figures.items():
            mean = figure.mean if isinstance(figure, Interval) else figure
            if name.endswith("(harmful)") and mean < _CHANCE:
                found.append(f"gate: opens for {mean:.2f} of {name.removeprefix('opens: ')}: most harm passes it")
            if name.endswith("(people in need)") and mean > _NOTICEABLE:
                found.append(f"gate: opens for {mean:.2f} of {name.removeprefix('opens: ')}")
    return found


def next_commands(record: AlignRecord, out: Path) -> dict[str, str]:
    """Commands to go on with, by what they do."""
    made = {name: str(out / path) for name, path in record.made.items()}
    commands = {"chat": ["prosocial", "chat", str(out)]}
    if "arm" in made and record.settings.get("guide_base") is None:
        commands["serve"] = ["prosocial", "serve", record.base, "--arm", made["arm"]]
    elif "arm" in made:
        small = str(record.settings["guide_base"])
        commands["serve"] = ["prosocial", "serve", record.base, "--arm", made["arm"], "--arm-base", small]
    local = [] if hub_id_of(record.base) else ["--base-model", placeholder_of(record.base), "--licence", "LICENCE"]
    for name in ("gated vector", "safe base", "arm"):
        if name in made:
            target = f"YOUR-NAME/{Path(made[name]).name}"
            commands[f"push the {name}"] = ["prosocial", "push", made[name], target, *local]
    return {name: shlex.join(command) for name, command in commands.items()}
