"""Figures of harmful prompts: attack success, refusals, categories that fare far worse than the rest."""

from .differences import paired
from .registry import Given, Measured, register_figures
from .shares import attack_success, harm_figures, non_refusal
from .signatures import category_failure


@register_figures("harm", asks=("refusal", "harm"))
def measure_harm(given: Given) -> Measured:
    """Attack success, where the judge of harm was validated, else the share that is not refused."""
    figure, values_of = ("asr", attack_success) if given.harm_validated else ("non_refusal", non_refusal)
    found = Measured()
    for one in given.answers:
        found.figures[one.variant] = harm_figures(one, validated=given.harm_validated)
        found.signatures += category_failure(one, values_of(one), figure)
    values = {one.variant: one.per_prompt(values_of(one)) for one in given.answers}
    found.differences += paired(figure, given.benchmark, values)
    return found
