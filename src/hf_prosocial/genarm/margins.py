"""Margins of a GenARM."""

from functools import partial

import torch

from hf_prosocial.arm import Margins, Setting, margins_of, score_pairs
from hf_prosocial.data import Pairs

from .model import GenArm


def measure_genarm_margins(arm: GenArm, pairs: Pairs, *, pad_token_id: int, batch_tokens: int = 4096) -> Margins:
    """`measure_margins` of a GenARM, whose reward is Σ_i p_i log π_i: k + 1 forward passes over the pairs."""
    settings: list[Setting] = [arm.model.disable_adapter, *(partial(arm.using, name) for name in pairs.objectives)]
    base, *own = score_pairs(arm.model, arm.wrapped, pairs, settings, pad_token_id, batch_tokens)
    guided = torch.stack(own)
    return margins_of(pairs, base, torch.cat([guided, guided.mean(0, keepdim=True)]))
