"""What a user is told at the end: what got better, what it cost, and what to do next."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_prosocial.records import AlignRecord, Metrics, known

_NOTICEABLE = 0.03
_PERPLEXITY = 1.02


def warnings_of(metrics: Metrics) -> list[str]:
    """What each variant does worse than the base: refusals of safe prompts and of people in need, and perplexity."""
    found = []
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


def _more_refused(reference: str, refused: Mapping[str, Mapping[str, Any]], what: str) -> list[str]:
    base = refused[reference]
    return [
        f"{variant}: refuses {100 * (one['mean'] - base['mean']):.0f} % more of {what} than the base "
        f"({one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}] of {one['count']}, the base {base['mean']:.2f})"
        for variant, one in refused.items()
        if known(one["mean"]) and known(base["mean"]) and one["mean"] - base["mean"] > _NOTICEABLE
    ]


def next_commands(record: AlignRecord, out: Path) -> dict[str, str]:
    """Commands to go on with, by what they do."""
    made = {name: str(out / path) for name, path in record.made.items()}
    commands = {"chat": ["prosocial", "chat", str(out)]}
    if "arm" in made and record.settings.get("guide_base") is None:
        commands["serve"] = ["prosocial", "serve", record.base, "--arm", made["arm"]]
    elif "arm" in made:
        small = str(record.settings["guide_base"])
        commands["serve"] = ["prosocial", "serve", record.base, "--arm", made["arm"], "--arm-base", small]
    for name in ("gated vector", "safe base", "arm"):
        if name in made:
            commands[f"push the {name}"] = ["prosocial", "push", made[name], f"YOUR-NAME/{Path(made[name]).name}"]
    return {name: shlex.join(command) for name, command in commands.items()}
