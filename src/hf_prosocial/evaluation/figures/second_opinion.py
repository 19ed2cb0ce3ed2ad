"""What the second judges say of the same replies, and how far both agree."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from hf_prosocial.evaluation.answers import Answers
from hf_prosocial.judges import kappa

from .differences import VariantDifference, paired
from .shares import share

SECOND_OPINION = " (second opinion)"
Values = Callable[[Answers], Float[np.ndarray, " replies"]]
"""1 where a reply counts, 0 where it does not, NaN where it was not judged."""


def second_opinion(answers: Answers, name: str, values_of: Values, *, has_one: bool) -> dict[str, Any]:
    """A share by the second judge, and how often both say the same, with Cohen's κ of it; {} without a second judge.

    κ is NaN where both judges give all replies the same label: there is nothing to agree on beyond chance.
    """
    if not has_one:
        return {}
    first, second = values_of(answers), values_of(answers.by_second_opinion())
    both = np.isfinite(first) & np.isfinite(second)
    same = np.where(both, first == second, np.nan)
    found: dict[str, Any] = {name + SECOND_OPINION: share(second), name + " (both agree)": share(same)}
    return found | {name + " (κ of both)": kappa(first[both], second[both])}


def second_differences(
    figure: str, benchmark: str, answers: Mapping[str, Answers], values_of: Values
) -> list[VariantDifference]:
    """The paired differences of a figure by the second judge."""
    values = {name: one.per_prompt(values_of(one.by_second_opinion())) for name, one in answers.items()}
    return paired(figure + SECOND_OPINION, benchmark, values)
