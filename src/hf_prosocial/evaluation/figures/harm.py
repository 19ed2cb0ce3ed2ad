"""Figures of harmful prompts: attack success, refusals, categories that fare far worse than the rest."""

from .differences import paired
from .registry import Given, Measured, register_figures
from .second_opinion import second_differences, second_opinion
from .shares import attack_success, harm_figures, non_refusal, refused
from .signatures import category_failure


@register_figures("harm", asks=("refusal", "harm"))
def measure_harm(given: Given) -> Measured:
    """Attack success, where the judge of harm was validated, else the share that is not refused."""
    figure, values_of = ("asr", attack_success) if given.harm_validated else ("non_refusal", non_refusal)
    found = Measured()
    for one in given.answers:
        found.figures[one.variant] = (
            harm_figures(one, validated=given.harm_validated)
            | second_opinion(one, "asr", attack_success, has_one=given.harm_validated and one.second_harm is not None)
            | second_opinion(one, "refused", refused, has_one=one.second_refusal is not None)
        )
        found.signatures += category_failure(one, values_of(one), figure)
    values = {one.variant: one.per_prompt(values_of(one)) for one in given.answers}
    found.differences += paired(figure, given.benchmark, values)
    if all(one.second_harm is not None and one.second_refusal is not None for one in given.answers):
        answers = {one.variant: one for one in given.answers}
        found.differences += second_differences(figure, given.benchmark, answers, values_of)
    return found
