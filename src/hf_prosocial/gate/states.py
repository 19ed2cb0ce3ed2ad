"""What a base makes of a prompt: its hidden states, before it answers."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_prosocial.errors import ProsocialError


def prompt_states(
    model: Any,
    input_ids: Int[Tensor, "rows length"],
    attention_mask: Int[Tensor, "rows length"],
    layers: Sequence[int],
) -> Float[Tensor, "rows features"]:
    """The hidden states of each prompt's last token at some layers, side by side; fp32.

    Args:
        model: the base, with `get_decoder`.
        input_ids: prompts, padded on the left or on the right.
        attention_mask: 1 for tokens and 0 for padding.
        layers: indices into the hidden states, 0 the embeddings.

    Raises:
        ValueError: a layer that the model does not have, or a row without a token.
    """
    check_layers(model, layers)
    mask = attention_mask.to(input_ids.device)
    if not mask.any(dim=1).all():
        raise ProsocialError("a row of the batch holds padding alone; give each row a prompt")
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        states = model.get_decoder()(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            output_hidden_states=True,
        ).hidden_states
    return last_states(states, mask, layers)


def check_layers(model: Any, layers: Sequence[int]) -> None:
    """Refuse layers that a model does not have.

    Raises:
        ProsocialError: which ones.
    """
    most = model.config.get_text_config(decoder=True).num_hidden_layers
    wrong = [layer for layer in layers if not 0 <= layer <= most]
    if wrong or not layers:
        raise ProsocialError(f"there are no hidden states {wrong}; the model has 0 (its embeddings) to {most}")


def last_states(
    states: Sequence[Float[Tensor, "rows length width"]], mask: Int[Tensor, "rows length"], layers: Sequence[int]
) -> Float[Tensor, "rows features"]:
    """Those of each row's last token at some layers, side by side; fp32, on the mask's device."""
    rows = torch.arange(len(mask), device=mask.device)
    # argmax finds the first of the largest: of the running count of tokens that is the last token.
    last = mask.cumsum(-1).argmax(-1)
    found = [states[layer][rows.to(states[layer].device), last.to(states[layer].device)] for layer in layers]
    return torch.cat([values.float().to(mask.device) for values in found], dim=-1)
