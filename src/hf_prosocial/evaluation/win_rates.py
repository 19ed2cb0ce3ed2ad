"""How often a variant's reply is judged better than the reference's, in both orders."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation.figures.shares import share
from hf_prosocial.judges import PairwiseJudge
from hf_prosocial.preference import Preference

from .answers import Answers
from .bootstrap import bootstrap_mean

WIN_RATE = "win_rate.jsonl"
"""Where the judge's answers are kept, among those of endpoints."""


def win_rates(
    judge: PairwiseJudge, answers: Sequence[Sequence[Answers]], preference: Preference
) -> list[dict[str, Any]]:
    """Of each benchmark's replies under one preference: every variant against the first, which is the reference.

    Ties count half; prompts whose answers were none of "A", "B" and "tie" are left out and counted.

    Raises:
        ValueError: fewer than two prompts with an answer.
    """
    found = []
    for reference, *others in answers:
        name = reference.benchmark
        before = reference.under(preference)
        for one in others:
            wins, agreed = judge(one.prompts, one.under(preference), before)
            judged = [row for row, win in enumerate(wins) if win is not None]
            if len(judged) < 2:
                raise ProsocialError(
                    f"the judge said which is better in {len(judged)} of {len(wins)} replies of {one.variant} to "
                    f'{name}; its answers must be "A", "B" or "tie", and nothing else'
                )
            rate = bootstrap_mean(np.array([wins[row] for row in judged], dtype=np.float64))
            agreement = share(np.array([agreed[row] for row in judged], dtype=np.float64))
            found.append(
                {
                    "benchmark": name,
                    "variant": one.variant,
                    "rate": asdict(rate),
                    "agreement": asdict(agreement),
                    "unjudged": len(wins) - len(judged),
                }
            )
    return found
