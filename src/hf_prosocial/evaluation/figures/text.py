"""Length, variety, repetition and wording of replies."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from hf_prosocial.estimates import Z95, Estimate
from hf_prosocial.evaluation.answers import Answers
from hf_prosocial.evaluation.bootstrap import bootstrap_mean
from hf_prosocial.evaluation.text_statistics import distinct, repetition, words
from hf_prosocial.evaluation.wording import TEMPLATES, has_template, opening, points_to_help, same_opening

from .shares import share


def text_figures(answers: Answers) -> dict[str, Any]:
    """Words and share of repeated 4-grams of a reply, distinct-1 and distinct-2 of all, degenerate replies, wording.

    Wording: the shares of replies that hold each template and that point to help, how many openings are distinct, and
    the chance that two replies open alike (under the first preference: replies to one prompt are no independent ones).
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
        "points_to_help": _share_of_prompts(answers, points_to_help),
        "distinct_openings": len(set(map(opening, answers.replies))),
        "same_opening": _of_two(answers.replies[:: len(answers.preferences)]),
    }
    found |= {f'says "{name}"': _share_of_prompts(answers, partial(has_template, name=name)) for name in TEMPLATES}
    if lengths.max() >= 2:
        found |= {f"distinct_{n}": distinct(answers.replies, n) for n in (1, 2)}
    return found


def _share_of_prompts(answers: Answers, counts: Callable[[str], bool]) -> Estimate:
    values = np.array([float(counts(reply)) for reply in answers.replies])
    return bootstrap_mean(answers.per_prompt(values))


def _of_two(replies: Sequence[str]) -> Estimate:
    """`same_opening` with the jackknife's interval: in a resample, a reply that came twice would open like itself."""
    whole, count = same_opening(replies), len(replies)
    without = np.array([same_opening([*replies[:row], *replies[row + 1 :]]) for row in range(count)])
    half = Z95 * ((count - 1) / count * ((without - without.mean()) ** 2).sum()) ** 0.5
    return Estimate(whole, whole - half, whole + half, count)
