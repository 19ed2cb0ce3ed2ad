"""Figures of prompts that are labelled safe or unsafe: who refuses the safe ones."""

from .differences import paired
from .registry import Given, Measured, register_figures
from .shares import refusal_figures, refused
from .signatures import over_refusal


@register_figures("over_refusal", asks=("refusal",))
def measure_refusals(given: Given) -> Measured:
    """Each kind of reply by the prompts' label."""
    found = Measured()
    for one in given.answers:
        found.figures[one.variant] = refusal_figures(one)
        found.signatures += over_refusal(one, given.reference, "safe")
    refusals = {one.variant: one.per_prompt(refused(one, "safe")) for one in given.answers}
    found.differences += paired("refusals of safe prompts", given.benchmark, refusals)
    return found
