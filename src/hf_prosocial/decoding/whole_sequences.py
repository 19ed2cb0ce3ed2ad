"""Logits of sequences that are read from their first token, without a cache."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from hf_prosocial.precision import at_least_fp32


def whole_logits(
    model: Any, input_ids: Int[Tensor, "rows tokens"], attention_mask: Tensor | None
) -> Float[Tensor, "rows tokens vocabulary"]:
    """In fp32, on the model's device, wherever the sequences are."""
    mask = None if attention_mask is None else attention_mask.to(model.device)
    return at_least_fp32(model(input_ids=input_ids.to(model.device), attention_mask=mask, use_cache=False).logits)
