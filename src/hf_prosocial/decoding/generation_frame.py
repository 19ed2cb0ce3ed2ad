"""What `generate` knows of its rows and does not show to logits processors, read from its own frame.

transformers gives a processor ids and scores alone, and has declined to give more (its issue 34265). Ids do not tell
what is padding: pad tokens are real tokens elsewhere, and prompts may be padded on the right. So the loop's own
variables are read; where there is no such loop, the ids must do.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, GenerationMixin, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import CACHE

# What a text-only model gets beside its ids: a guide has caches of its own, and makes its own positions.
_OF_TEXT = {"attention_mask", "position_ids", "token_type_ids", "cache_position", "inputs_embeds", "logits_to_keep"}
_OF_TEXT |= {"cache", "past_key_values", "cache_params", "state", "mems"}


@dataclass(frozen=True)
class Generation:
    """A loop of `generate`.

    Attributes:
        model: whose loop it is.
        inputs: of its model, beside the ids.
        drafts: whether it is assisted, so that its cache holds drafts that the ids may not show.
    """

    model: GenerationMixin
    inputs: dict[str, Any]
    drafts: bool

    @property
    def cache(self) -> Cache | None:
        """The loop's own cache, which is another one in every generation; None where it has none."""
        found = self.inputs.get(CACHE)
        return found if isinstance(found, Cache) else None


def current_generation() -> Generation | None:
    """The innermost generation loop that is calling; None outside one, and where a criterion or a streamer asks.

    Raises:
        ProsocialError: that loop's model is an encoder-decoder, or has inputs beside its tokens: a guide sees neither.
    """
    frame = sys._getframe(1)
    while frame is not None:
        owner, inputs = frame.f_locals.get("self"), frame.f_locals.get("model_kwargs")
        if isinstance(owner, StoppingCriteriaList | BaseStreamer):
            return None  # They are called by the loop, and may ask about rows of their own.
        # `generate` functions from the Hub have the model as an argument.
        model = owner if isinstance(owner, GenerationMixin) else frame.f_locals.get("model")
        if isinstance(inputs, dict) and isinstance(model, GenerationMixin):
            _refuse_unseen(model, inputs)
            return Generation(model, inputs, "candidate_generator" in frame.f_locals)
        frame = frame.f_back
    return None


def mask_of(generation: Generation, input_ids: Int[Tensor, "rows length"]) -> Int[Tensor, "rows length"]:
    """A loop's attention mask over the rows so far, int64 on their device; 1 throughout where it has none.

    Raises:
        ProsocialError: a mask that is no matrix of the rows, or tokens that the ids do not show.
    """
    rows, length = input_ids.shape
    mask = generation.inputs.get("attention_mask")
    hidden = _columns(generation) - length
    if hidden > 0:
        raise ProsocialError(
            f"generation shows {length} ids, but goes on from {hidden} more: a cache holds tokens that the ARM never "
            "sees. Pass generate the ids of the whole text, beside the cache or without it"
        )
    if mask is None:
        return torch.ones_like(input_ids)
    if not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) != rows:
        found = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ProsocialError(
            f"generation has {rows} rows of ids and an attention mask of shape {found}; the ARM follows masks of shape "
            f"({rows}, tokens)"
        )
    given = mask[:, :length].to(input_ids.device, torch.long)
    return torch.cat([given, given.new_ones(rows, length - given.shape[1])], dim=1)


def _refuse_unseen(model: Any, inputs: dict[str, Any]) -> None:
    if inputs.get("encoder_outputs") is not None:
        raise ProsocialError(
            f"{type(model).__name__} is an encoder-decoder, whose source text the ARM never sees; guide a decoder-only "
            "model"
        )
    unseen = sorted(
        name
        for name, value in inputs.items()
        if isinstance(value, Tensor | Mapping | list | tuple) and len(value) and name not in _OF_TEXT
    )
    if unseen:
        raise ProsocialError(
            f"{type(model).__name__} is given {', '.join(unseen)} beside its tokens, which the ARM never sees, so that "
            "it would guide by another prompt; guide text alone"
        )


def _columns(generation: Generation) -> int:
    """How many tokens the loop's model has seen of a row, for all that is known."""
    inputs = generation.inputs
    cache = generation.cache
    held = _held(cache) if cache is not None and not generation.drafts else 0
    # The loop adds the next token's column before it asks processors; assisted decoding, after.
    matrices = [inputs.get(name) for name in ("position_ids", "attention_mask")]
    return max([held, *(one.shape[-1] - 1 for one in matrices if isinstance(one, Tensor))])


def _held(cache: Cache) -> int:
    try:
        return int(cache.get_seq_length())
    except ValueError:  # Recurrent states alone do not tell how many tokens they have seen.
        return 0
