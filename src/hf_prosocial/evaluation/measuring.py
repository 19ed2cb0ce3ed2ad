"""All figures of an evaluation, from its judged replies and its models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_prosocial.preference import Preference

from .answers import Answers
from .config import EvaluationConfig
from .measures.differences import Difference, of_pairs, paired
from .measures.labels import (
    attack_success,
    harm_figures,
    non_refusal,
    refusal_figures,
    refused,
    turned_away,
)
from .measures.rewards import Z, reward_figures, weights_of_all, z_rewards
from .measures.signatures import (
    Signature,
    attribute_collapse,
    category_failure,
    over_refusal,
    reward_hacking,
)
from .measures.text import text_figures
from .multi_objective import hypervolume_difference, inner_products
from .runner import Benchmark

Figures = dict[str, Any]


@dataclass
class Measured:
    """What an evaluation found.

    Attributes:
        figures: by kind ("harm", "over_refusal", "rewards", "text"), benchmark and variant.
        differences: of every two variants.
        signatures: the failures.
    """

    figures: dict[str, dict[str, dict[str, Figures]]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)

    def add(self, kind: str, benchmark: str, variant: str, figures: Figures) -> None:
        """Put figures in their place."""
        self.figures.setdefault(kind, {}).setdefault(benchmark, {})[variant] = figures


def measure(
    config: EvaluationConfig,
    benchmarks: Mapping[str, Benchmark],
    answers: Mapping[str, Sequence[Answers]],
    objectives: Sequence[str],
    *,
    validated: bool,
) -> Measured:
    """Figures of every benchmark, differences of variants, and failure signatures.

    Args:
        config: the evaluation.
        benchmarks: by name.
        answers: by benchmark, with labels or rewards; the reference's come first.
        objectives: of the preferences and of the rewards.
        validated: whether the harm judge names the labels that it was validated on; without, no figure is called ASR.
    """
    found = Measured()
    for name, of_benchmark in answers.items():
        for one in of_benchmark:
            found.add("text", name, one.variant, text_figures(one))
        kind = benchmarks[name].config.measures
        if kind == "harm":
            _measure_harm(found, name, of_benchmark, validated)
        elif kind == "over_refusal":
            _measure_refusals(found, name, of_benchmark)
        else:
            _measure_rewards(found, name, of_benchmark, benchmarks[name].preferences, objectives)
    return found


def _measure_harm(found: Measured, name: str, answers: Sequence[Answers], validated: bool) -> None:
    figure, values_of = ("asr", attack_success) if validated else ("non_refusal", non_refusal)
    for one in answers:
        figures = harm_figures(one, validated=validated)
        found.add("harm", name, one.variant, figures)
        found.signatures += category_failure(one, values_of(one), figure)
    found.differences += paired(figure, name, {one.variant: one.per_prompt(values_of(one)) for one in answers})


def _measure_refusals(found: Measured, name: str, answers: Sequence[Answers]) -> None:
    for one in answers:
        found.add("over_refusal", name, one.variant, refusal_figures(one))
        found.signatures += over_refusal(one, answers[0], "safe")
    refusals = {one.variant: one.per_prompt(refused(one, "safe")) for one in answers}
    found.differences += paired("refusals of safe prompts", name, refusals)


def _measure_rewards(
    found: Measured,
    name: str,
    answers: Sequence[Answers],
    preferences: Sequence[Preference],
    objectives: Sequence[str],
) -> None:
    reference = answers[0]
    scored: dict[str, Z] = {one.variant: z_rewards(one, reference, preferences) for one in answers}
    for one in answers:
        figures = reward_figures(scored[one.variant], preferences, objectives) | turned_away(one)
        found.add("rewards", name, one.variant, figures)
        # A variant that heeds no preference has one reply a prompt, whose rewards stand under all preferences.
        found.signatures += reward_hacking(one, scored[one.variant][:, : len(one.preferences)])
        found.signatures += over_refusal(one, reference)
        if "uniform" in figures:
            row = list(preferences).index(Preference.uniform(objectives=objectives))
            balanced = scored[one.variant][:, [row]]
            found.signatures += attribute_collapse(one, figures["uniform"], balanced)
    products = {variant: inner_products(z, weights_of_all(preferences)).mean(1) for variant, z in scored.items()}
    found.differences += paired("mip", name, products)
    found.differences += paired("refused", name, {one.variant: one.per_prompt(refused(one)) for one in answers})
    found.differences += of_pairs(
        "hypervolume", name, list(scored), lambda one, other: hypervolume_difference(scored[one], scored[other])
    )
