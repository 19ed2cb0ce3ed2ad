"""Figures of prompts that are answered under many preferences: rewards, and how many are refused beside them."""

from hf_prosocial.estimates import Estimate
from hf_prosocial.evaluation.multi_objective import hypervolume_difference, inner_products
from hf_prosocial.preference import Preference

from .differences import of_pairs, paired
from .registry import Given, Measured, register_figures
from .rewards import Z, reward_figures, weights_of_all, with_rewards_alone, z_rewards
from .shares import refused, turned_away
from .signatures import attribute_collapse, over_refusal, reward_hacking


@register_figures("rewards", asks=("rewards", "refusal"))
def measure_rewards(given: Given) -> Measured:
    """Mean inner product, hypervolume and control; high rewards of replies that refuse are counted apart."""
    preferences, found = list(given.preferences), Measured()
    rewarded = with_rewards_alone(given.answers)
    if rewarded is None:
        untold = Estimate(float("nan"), float("nan"), float("nan"), 0)
        found.figures = {
            one.variant: {"mip": untold, "hypervolume": untold} | turned_away(one) for one in given.answers
        }
        return found
    scored: dict[str, Z] = {one.variant: z_rewards(one, rewarded[0], preferences) for one in rewarded}
    for one, all_of_it in zip(rewarded, given.answers, strict=True):
        z = scored[one.variant]
        figures = reward_figures(z, preferences, given.objectives) | turned_away(all_of_it)
        if len(one.prompts) < len(all_of_it.prompts):
            figures["prompts_without_rewards"] = len(all_of_it.prompts) - len(one.prompts)
        found.figures[one.variant] = figures
        # A variant that heeds no preference has one reply a prompt, whose rewards stand under all preferences.
        found.signatures += reward_hacking(one, z[:, : len(one.preferences)])
        found.signatures += over_refusal(all_of_it, given.reference)
        if "uniform" in figures:
            row = preferences.index(Preference.uniform(objectives=given.objectives))
            found.signatures += attribute_collapse(one, figures["uniform"], z[:, [row]])
    products = {variant: inner_products(z, weights_of_all(preferences)).mean(1) for variant, z in scored.items()}
    found.differences += paired("mip", given.benchmark, products)
    refusals = {one.variant: one.per_prompt(refused(one)) for one in given.answers}
    found.differences += paired("refused", given.benchmark, refusals)
    found.differences += of_pairs(
        "hypervolume",
        given.benchmark,
        list(scored),
        lambda one, other: hypervolume_difference(scored[one], scored[other]),
    )
    return found
