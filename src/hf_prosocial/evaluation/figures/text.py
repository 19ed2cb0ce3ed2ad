"""Length, variety and repetition of replies."""

from typing import Any

import numpy as np

from hf_prosocial.evaluation.answers import Answers
from hf_prosocial.evaluation.bootstrap import bootstrap_mean
from hf_prosocial.evaluation.text_statistics import distinct, repetition, words

from .shares import share


def text_figures(answers: Answers) -> dict[str, Any]:
    """Words and share of repeated 4-grams of a reply, distinct-1 and distinct-2 of all, degenerate replies.

    Intervals resample prompts; distinct-n over the replies of resampled prompts counts a prompt that came twice once
    more, which lowers it, so that it has none.
    """
    shape = (len(answers.prompts), len(answers.preferences))
    lengths = np.array([len(words(reply)) for reply in answers.replies], dtype=np.float64).reshape(shape)
    repeated = np.array([repetition(reply) for reply in answers.replies]).reshape(shape)
    found: dict[str, Any] = {
        "words": bootstrap_mean(lengths),
        "repetition": bootstrap_mean(repeated),
        "degenerate": share(answers.degenerate().ravel()),
        "replies": len(answers.replies),
    }
    if lengths.max() >= 2:
        found |= {f"distinct_{n}": distinct(answers.replies, n) for n in (1, 2)}
    return found
