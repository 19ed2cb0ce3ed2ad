"""Whether base and guide can share a forward pass, found by trying it once."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import CANNOT, agree, plain_tokens
from hf_prosocial.pblora import PBLoraModel
from hf_prosocial.precision import at_least_fp32

from .guidance import guided_log_probs
from .lanes import Lanes
from .steps import Steps
from .way import try_ways

_TOKENS = 6
_right: WeakKeyDictionary[PBLoraModel, None] = WeakKeyDictionary()


def check_one_pass(guided: Any, base: PreTrainedModel, arm: PBLoraModel) -> None:
    """Try a `GuidedModel` on a few tokens: against base and ARM by themselves, and its cache against whole rows.

    Models differ in what they do with doubled rows (experts, recurrent states), and their configuration does not tell.
    It is tried once an ARM.

    Args:
        guided: the model.
        base: what it was made of.
        arm: the tuner of the ARM that was given.

    Raises:
        ProsocialError: the two cannot share a forward pass.
    """
    if arm in _right:
        return
    advice = "guide by ProSocialProcessor(arm, preference), which runs two models"
    name = type(base).__name__
    adapter = arm.one_adapter()
    k = len(arm.adapter_config(adapter).names)
    uniform = torch.full((k,), 1 / k)
    tokens = torch.tensor([plain_tokens(base.config, _TOKENS)], device=base.device)
    mask = torch.ones_like(tokens)
    steps = Steps(guided, {"preference": Lanes(uniform)})
    try:
        own = at_least_fp32(Steps(base).whole(tokens, mask, _TOKENS))
        with arm.preference_state.using(adapter, uniform):
            reward = at_least_fp32(Steps(arm.wrapped).whole(tokens, mask, _TOKENS))
        together = steps.whole(tokens, mask, _TOKENS)
        way = try_ways(steps, name)
    except CANNOT as error:
        raise ProsocialError(f"{name} cannot be guided in one forward pass ({error}); {advice}") from error
    expected = guided_log_probs(own, reward.to(own.device), beta=1.0)
    if not (agree(together, expected, base.dtype) and way.cached):
        raise ProsocialError(
            f"{name} gives other logits in one forward pass with its guide than in two, by itself or with a cache; "
            f"{advice}"
        )
    _right[arm] = None
