"""Figures of prompts that are answered under many preferences: rewards, and how many are refused beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_prosocial.estimates import Estimate
from hf_prosocial.evaluation.answers import Answers
from hf_prosocial.evaluation.multi_objective import hypervolume_difference, inner_products
from hf_prosocial.preference import Preference

from .differences import VariantDifference, of_pairs, paired
from .registry import Given, Measured, register_figures
from .rewards import Z, over_measurable, reward_figures, unvarying, with_rewards_alone, z_rewards
from .second_opinion import second_differences, second_opinion
from .shares import refused, turned_away
from .signatures import attribute_collapse, over_refusal, reward_hacking


@register_figures("rewards", asks=("rewards", "refusal"))
def measure_rewards(given: Given) -> Measured:
    """Mean inner product, hypervolume and control, over the objectives that the judge of rewards can tell.

    High rewards of replies that refuse are counted apart.
    """
    preferences, found = list(given.preferences), Measured()
    rewarded = with_rewards_alone(given.answers)
    if rewarded is None:
        untold = Estimate(float("nan"), float("nan"), float("nan"), 0)
        found.figures = {
            one.variant: {"mip": untold, "hypervolume": untold} | _turned_away(one) for one in given.answers
        }
        return found
    not_measurable = unvarying(rewarded[0], given.objectives) | dict(given.not_measurable)
    measurable = [name for name in given.objectives if name not in not_measurable]
    scored: dict[str, Z] = {one.variant: z_rewards(one, rewarded[0], preferences) for one in rewarded}
    for one, all_of_it in zip(rewarded, given.answers, strict=True):
        z = scored[one.variant]
        figures = reward_figures(z, preferences, given.objectives, measurable) | _turned_away(all_of_it)
        if not_measurable:
            figures["not_measurable"] = not_measurable
        if len(one.prompts) < len(all_of_it.prompts):
            figures["prompts_without_rewards"] = len(all_of_it.prompts) - len(one.prompts)
        found.figures[one.variant] = figures
        # A variant that heeds no preference has one reply a prompt, whose rewards stand under all preferences.
        columns = [list(given.objectives).index(name) for name in measurable]
        if columns:
            found.signatures += reward_hacking(one, z[:, : len(one.preferences), columns])
        found.signatures += over_refusal(all_of_it, given.reference)
        if figures.get("uniform"):
            row = preferences.index(Preference.uniform(objectives=given.objectives))
            found.signatures += attribute_collapse(one, figures["uniform"], z[:, [row]][:, :, columns])
    refusals = {one.variant: one.per_prompt(refused(one)) for one in given.answers}
    found.differences += paired("refused", given.benchmark, refusals)
    if all(one.second_refusal is not None for one in given.answers):
        answers = {one.variant: one for one in given.answers}
        found.differences += second_differences("refused", given.benchmark, answers, refused)
    found.differences += _of_rewards(given, scored, preferences, measurable)
    return found


def _of_rewards(
    given: Given, scored: Mapping[str, Z], preferences: Sequence[Preference], measurable: Sequence[str]
) -> list[VariantDifference]:
    """Differences in MIP and hypervolume, over the objectives that the judge can tell."""
    columns, rows, weights = over_measurable(preferences, given.objectives, measurable)
    if not len(rows):
        return []
    chosen = {variant: z[:, rows][:, :, columns] for variant, z in scored.items()}
    products = {variant: inner_products(z, weights).mean(1) for variant, z in chosen.items()}
    found = paired("mip", given.benchmark, products)
    if len(columns) > 1:
        found += of_pairs(
            "hypervolume",
            given.benchmark,
            list(chosen),
            lambda one, other: hypervolume_difference(chosen[one], chosen[other]),
        )
    return found


def _turned_away(answers: Answers) -> dict[str, Any]:
    return turned_away(answers) | second_opinion(
        answers, "refused", refused, has_one=answers.second_refusal is not None
    )
