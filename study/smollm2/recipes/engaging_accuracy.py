"""Whether ARMs hold an answer above a refusal: `python recipes/engaging_accuracy.py ARM ...`, on held-out pairs.

Each pair of runs/engaging_dev.jsonl (recipes/engaging_pairs.py) under the one-hot preference of its own objective, per
token, beside the base.
An ARM is a directory, or "released".
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch

from hf_prosocial import OBJECTIVES, Preference, find_base, load_arm, read_pairs
from hf_prosocial.arm import score_pairs
from hf_prosocial.assets import arm_source
from hf_prosocial.data import Pairs
from hf_prosocial.estimates import wilson
from hf_prosocial.pblora import tuner_of

DEV = Path("runs/engaging_dev.jsonl")


def margins(arm: str, pairs: Pairs) -> list[float]:
    """Of each pair: the log-ratio of ARM to base per token, chosen less rejected."""
    base, tokenizer = find_base().load(torch.float32)
    model = load_arm(arm_source(arm), base, tokenizer=tokenizer)
    tuner = tuner_of(model)
    adapter, found = tuner.one_adapter(), [0.0] * len(pairs.rows)
    for index, objective in enumerate(OBJECTIVES):
        at = [row for row, pair in enumerate(pairs.rows) if pair.objective == index]
        if not at:
            continue
        weights = tuner.preference_weights(Preference.one_hot(objective), adapter)
        settings = [model.disable_adapter, partial(tuner.preference_state.using, adapter, weights)]
        some = Pairs(pairs.objectives, [pairs.rows[row] for row in at])
        plain, guided = score_pairs(model, tuner.wrapped, some, settings, tokenizer.eos_token_id, 4096)
        tokens = torch.tensor([[len(pair.chosen), len(pair.rejected)] for pair in some.rows]).T
        ratio = (guided - plain) / tokens
        for row, margin in zip(at, (ratio[0] - ratio[1]).tolist(), strict=True):
            found[row] = margin
    return found


if __name__ == "__main__":
    rows = [json.loads(line) for line in DEV.read_text(encoding="utf-8").splitlines()]
    pairs = read_pairs(DEV, find_base().load()[1], OBJECTIVES, 1024)
    kinds = [rows[pair.line - 1]["source"].removeprefix("engaging-") for pair in pairs.rows]
    for arm in sys.argv[1:]:
        own = margins(arm, pairs)
        for kind in dict.fromkeys(kinds):
            won = [margin > 0 for margin, of_kind in zip(own, kinds, strict=True) if of_kind == kind]
            low, high = wilson(sum(won) / len(won), len(won))
            print(f"{arm}, {kind}: {sum(won)} of {len(won)}, [{low:.2f}, {high:.2f}]")
