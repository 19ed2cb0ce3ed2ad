"""Running a model on the newest tokens of rows, with the inputs that `generate` would give it."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from hf_prosocial.models import CACHE

from .columns import named_columns


class Steps:
    """Forward passes of one causal model, with a cache or without.

    Models settle in `prepare_inputs_for_generation` what they see at a step: those with two sets of rotary frequencies
    drop the cache there, recurrent ones their mask. Whoever calls the model alone is wrong for them.

    Args:
        model: a decoder-only model, in evaluation mode.
        further: inputs that it gets at every step.
    """

    def __init__(self, model: PreTrainedModel, further: Mapping[str, Any] | None = None) -> None:
        self.model: Any = model
        self._further = dict(further or {})
        parameters = inspect.signature(model.forward).parameters
        self._takes_position_ids = "position_ids" in parameters
        self._keeps_logits = "logits_to_keep" in parameters

    def new_cache(self) -> DynamicCache:
        """An empty cache of the kind that `generate` makes."""
        return DynamicCache(config=self.model.config.get_text_config(decoder=True))

    def cached(
        self,
        input_ids: Int[Tensor, "rows length"],
        attention_mask: Int[Tensor, "rows length"],
        cache: Any,
        kept: int,
        last: int = 1,
    ) -> tuple[Float[Tensor, "rows last vocabulary"], Any]:
        """Logits after the last columns, and the cache of all columns.

        Args:
            input_ids: the rows so far.
            attention_mask: 1 for tokens and 0 for padding.
            cache: of the first columns.
            kept: how many it holds.
            last: how many columns' logits, no more than are new.
        """
        inputs = self.model.prepare_inputs_for_generation(
            input_ids,
            next_sequence_length=input_ids.shape[1] - kept,
            attention_mask=attention_mask,
            use_cache=True,
            is_first_iteration=kept == 0,
            **self._position_ids(attention_mask),
            **{CACHE: cache},
        )
        output = self._run(inputs, last)
        return output.logits[:, -last:], output[CACHE]

    def whole(
        self, input_ids: Int[Tensor, "rows length"], attention_mask: Int[Tensor, "rows length"], last: int = 1
    ) -> Float[Tensor, "rows last vocabulary"]:
        """Logits after the last columns, from the first column on, without a cache; arguments as of `cached`."""
        inputs = self.model.prepare_inputs_for_generation(
            input_ids,
            attention_mask=attention_mask,
            use_cache=False,
            is_first_iteration=True,
            **self._position_ids(attention_mask),
        )
        return self._run(inputs, last).logits[:, -last:]

    def _run(self, inputs: dict[str, Any], last: int) -> Any:
        if self._keeps_logits:
            ids = inputs["input_ids"]
            inputs["logits_to_keep"] = named_columns(last, ids.shape[1], ids.device)
        with torch.no_grad():
            return self.model(**(inputs | self._further))

    def _position_ids(self, attention_mask: Int[Tensor, "rows length"]) -> dict[str, Tensor]:
        if not self._takes_position_ids:
            return {}
        return {"position_ids": (attention_mask.cumsum(-1) - 1).clamp(min=0)}


def crop(cache: Cache, length: int, remove: int) -> bool:
    """Remove the last columns of a cache; False where it cannot, and must be filled anew."""
    if remove == 0:
        return True
    for layer in cache.layers:
        # Other kinds may keep more than keys and values (a recurrent state), which no crop takes back.
        full = type(layer) is DynamicLayer
        if not full and (type(layer) is not DynamicSlidingWindowLayer or length >= layer.sliding_window):
            return False
    cache.crop(-remove)
    return True
