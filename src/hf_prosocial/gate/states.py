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
    mean_layers: Sequence[int] = (),
    said: Int[Tensor, "rows length"] | None = None,
) -> Float[Tensor, "rows features"]:
    """The hidden states of each prompt's last token at some layers, and their means at others, side by side; fp32.

    Args:
        model: the base, with `get_decoder`.
        input_ids: prompts, padded on the left or on the right.
        attention_mask: 1 for tokens and 0 for padding.
        layers: indices into the hidden states, 0 the embeddings.
        mean_layers: further ones, of which the mean over the tokens is taken.
        said: 1 for the tokens that the means run over; all but padding by default.

    Raises:
        ValueError: a layer that the model does not have, or a row without a token.
    """
    check_layers(model, [*layers, *mean_layers])
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
    return pooled_states(states, mask, mask if said is None else said.to(mask), layers, mean_layers)


def check_layers(model: Any, layers: Sequence[int]) -> None:
    """Refuse layers that a model does not have.

    Raises:
        ProsocialError: which ones.
    """
    most = model.config.get_text_config(decoder=True).num_hidden_layers
    wrong = [layer for layer in layers if not 0 <= layer <= most]
    if wrong or not layers:
        raise ProsocialError(f"there are no hidden states {wrong}; the model has 0 (its embeddings) to {most}")


def pooled_states(
    states: Sequence[Float[Tensor, "rows length width"]],
    mask: Int[Tensor, "rows length"],
    said: Int[Tensor, "rows length"],
    layers: Sequence[int],
    mean_layers: Sequence[int],
) -> Float[Tensor, "rows features"]:
    """As `prompt_states` of states that are at hand; on the mask's device."""
    rows = torch.arange(len(mask), device=mask.device)
    # argmax finds the first of the largest: of the running count of tokens that is the last token.
    last = mask.cumsum(-1).argmax(-1)
    found = [states[layer][rows.to(states[layer].device), last.to(states[layer].device)] for layer in layers]
    found += [_mean(states[layer], said) for layer in mean_layers]
    return torch.cat([values.float().to(mask.device) for values in found], dim=-1)


def _mean(states: Float[Tensor, "rows length width"], said: Int[Tensor, "rows length"]) -> Float[Tensor, "rows width"]:
    weights = said.to(states.device, torch.float32)
    # Padding may hold anything, also what is not finite; times 0 it would not be 0.
    counted = states.float().masked_fill(weights[..., None] == 0, 0.0)
    return counted.sum(1) / weights.sum(1, keepdim=True)
