"""Logits of sequences that are read from their first token, without a cache."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from hf_prosocial.precision import at_least_fp32

from .gated_model import GatedModel


def whole_logits(
    model: Any, input_ids: Int[Tensor, "rows tokens"], attention_mask: Tensor | None
) -> Float[Tensor, "rows tokens vocabulary"]:
    """In fp32, on the model's device, wherever the sequences are."""
    mask = None if attention_mask is None else attention_mask.to(model.device)
    return at_least_fp32(model(input_ids=input_ids.to(model.device), attention_mask=mask, use_cache=False).logits)


def base_logits(
    base: Any, input_ids: Int[Tensor, "rows tokens"], attention_mask: Tensor | None
) -> tuple[Float[Tensor, "rows tokens vocabulary"], Float[Tensor, "rows 1 1"] | None]:
    """What is guided, as `whole_logits`, and the share of β that its gate leaves; None is all, everywhere."""
    if not isinstance(base, GatedModel):
        return whole_logits(base, input_ids, attention_mask), None
    ids = input_ids.to(base.device)
    mask = None if attention_mask is None else attention_mask.to(base.device)
    scales, share = base.gated(ids, mask)
    output = base(input_ids=ids, attention_mask=mask, use_cache=False, harm_scales=scales)
    return at_least_fp32(output.logits), share
