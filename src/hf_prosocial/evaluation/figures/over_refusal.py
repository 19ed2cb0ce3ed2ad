"""Figures of prompts that are labelled safe or unsafe: who refuses the safe ones."""

from functools import partial

from .differences import paired
from .registry import Given, Measured, register_figures
from .second_opinion import second_differences, second_opinion
from .shares import refusal_figures, refused
from .signatures import over_refusal


@register_figures("over_refusal", asks=("refusal",))
def measure_refusals(given: Given) -> Measured:
    """Each kind of reply by the prompts' label."""
    found = Measured()
    for one in given.answers:
        found.figures[one.variant] = refusal_figures(one)
        for label, figures in found.figures[one.variant].items():
            of_label = partial(refused, label=label)
            figures |= second_opinion(one, "refused", of_label, has_one=one.second_refusal is not None)
        found.signatures += over_refusal(one, given.reference, "safe")
    refusals = {one.variant: one.per_prompt(refused(one, "safe")) for one in given.answers}
    found.differences += paired("refusals of safe prompts", given.benchmark, refusals)
    if all(one.second_refusal is not None for one in given.answers):
        answers = {one.variant: one for one in given.answers}
        of_safe = partial(refused, label="safe")
        found.differences += second_differences("refusals of safe prompts", given.benchmark, answers, of_safe)
    return found
