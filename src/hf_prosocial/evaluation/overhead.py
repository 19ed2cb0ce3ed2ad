"""What a variant's step costs: time to generate over the reference's, measured in turn."""

import time
from dataclasses import replace
from statistics import median
from typing import Any

from hf_prosocial.data import Prompt
from hf_prosocial.preference import Preference

from .config import OverheadConfig
from .repliers import ChatReplier


def overheads(
    repliers: dict[str, ChatReplier],
    reference: str,
    prompts: list[Prompt],
    preference: Preference,
    config: OverheadConfig,
) -> dict[str, dict[str, Any]]:
    """Each variant's seconds over the reference's: medians of ratios within a round, with the least and the most.

    Variants answer in turn, A B C A B C, after a round that is not counted, because a machine's speed drifts.

    Args:
        repliers: by variant.
        reference: a variant's name.
        prompts: the first of them are answered as one batch.
        preference: of all rows.
        config: how many prompts, how long replies, how often.
    """
    length = config.new_tokens
    # No reply ends early, so that all variants do the same work.
    repliers = {
        name: replace(one, max_new_tokens=length, options={**one.options, "min_new_tokens": length})
        for name, one in repliers.items()
    }
    conversations = [prompt.messages() for prompt in prompts[: config.prompts]]
    rounds: list[dict[str, float]] = []
    for _ in range(config.repeats + 1):
        seconds = {}
        for name, replier in repliers.items():
            begin = time.perf_counter()
            replier(conversations, [preference] * len(conversations))
            seconds[name] = time.perf_counter() - begin
        rounds.append(seconds)
    found = {}
    for name in repliers:
        ratios = [seconds[name] / seconds[reference] for seconds in rounds[1:]]
        found[name] = {"ratio": median(ratios), "least": min(ratios), "most": max(ratios)}
    return found
