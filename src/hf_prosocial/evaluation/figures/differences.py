"""Paired differences of every variant to every other, on the same prompts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from hf_prosocial.estimates import Estimate
from hf_prosocial.evaluation.bootstrap import paired_difference

from .shares import LEAST_JUDGED

PerPrompt = Float[np.ndarray, " prompts"]


@dataclass(frozen=True)
class VariantDifference:
    """A figure of one variant less that of another.

    Attributes:
        figure, benchmark, one, other: which.
        difference: paired over prompts.
        p: of a sign-flipping permutation test; None where there is none for the figure.
    """

    figure: str
    benchmark: str
    one: str
    other: str
    difference: Estimate
    p: float | None


def paired(figure: str, benchmark: str, values: Mapping[str, PerPrompt]) -> list[VariantDifference]:
    """Every pair of variants, the later less the earlier; none where too few prompts have a value of both.

    Args:
        figure: what the values are.
        benchmark: where they were measured.
        values: of each variant, prompt by prompt; NaN where none of its replies was judged.
    """
    found = []
    for other, one in combinations(values, 2):
        both = np.isfinite(values[one]) & np.isfinite(values[other])
        if both.sum() < LEAST_JUDGED * len(both):
            continue
        difference, p = paired_difference(values[one][both], values[other][both])
        found.append(VariantDifference(figure, benchmark, one, other, difference, p))
    return found


def of_pairs(
    figure: str, benchmark: str, variants: Sequence[str], difference: Callable[[str, str], Estimate]
) -> list[VariantDifference]:
    """Every pair of variants, for a figure that is no mean over prompts; without a test."""
    return [
        VariantDifference(figure, benchmark, one, other, difference(one, other), None)
        for other, one in combinations(variants, 2)
    ]
