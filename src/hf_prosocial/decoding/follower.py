"""A second model that follows a generation, with a cache of its own kept in step by prefix."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from hf_prosocial.models import CACHE

from .columns import named_columns
from .prefix import PrefixHasher, longest_common_prefixes, same_prefix_parents


class Follower:
    """Gives a model's next-token logits for whatever rows it is shown, at the cost of the new tokens only.

    `generate` does not tell a logits processor which beam a row came from, or that candidates were rejected. So every
    row looks for the row of the last call that it continues: equal tokens and mask mean equal keys and values. Then
    the cache is reordered, cropped, or filled anew.

    Args:
        model: a decoder-only model, in evaluation mode.
        before_prefill: called whenever rows continue nothing and the cache is filled anew; it may raise.
    """

    def __init__(self, model: PreTrainedModel, before_prefill: Callable[[], None]) -> None:
        self.model = model
        self._before_prefill = before_prefill
        self._takes_position_ids = "position_ids" in inspect.signature(model.forward).parameters
        self._hasher = PrefixHasher()
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self._cache: DynamicCache | None = None
        self._rows: Tensor | None = None
        self._lanes: Tensor | None = None
        self._logits: Tensor | None = None

    def next_logits(
        self,
        input_ids: Int[Tensor, "rows length"],
        attention_mask: Int[Tensor, "rows length"],
        lanes: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after the last column, in the model's dtype.

        Args:
            input_ids: the rows so far, int64, on the model's device.
            attention_mask: 1 for tokens and 0 for padding, likewise.
            lanes: rows with different lanes never share keys and values (they have different preferences).
        """
        rows = input_ids * 2 + attention_mask
        kept = self._keep_common(rows, lanes)
        if kept == rows.shape[1] and self._logits is not None:
            return self._logits
        if kept == 0:
            self._before_prefill()
            self._cache = DynamicCache(config=self.model.config)
        cache = self._cache
        self.reset()  # If the forward pass fails, nothing half-updated may remain.
        arguments: dict[str, Any] = {CACHE: cache}
        if self._takes_position_ids:
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
            arguments["position_ids"] = position_ids[:, kept:]
        with torch.no_grad():
            output = self.model(
                input_ids=input_ids[:, kept:],
                attention_mask=attention_mask,
                use_cache=True,
                logits_to_keep=named_columns(1, rows.shape[1] - kept, input_ids.device),
                **arguments,
            )
        self._cache, self._rows, self._lanes = output[CACHE], rows, lanes
        self._logits = output.logits[:, -1]
        return self._logits

    def _keep_common(self, rows: Int[Tensor, "rows length"], lanes: Int[Tensor, " rows"]) -> int:
        """Bring the cache to what it shares with `rows`; the number of columns that it then holds."""
        if self._cache is None or self._rows is None or self._lanes is None or self._logits is None:
            return 0
        length = self._rows.shape[1]
        parents = same_prefix_parents(self._hasher, self._rows, self._lanes, rows, lanes)
        kept = length
        if parents is None:
            parents, kept = longest_common_prefixes(self._hasher, self._rows, self._lanes, rows, lanes)
            # The last token must run again, because only its logits are wanted.
            kept = min(kept, rows.shape[1] - 1)
            if kept == 0 or not crop(self._cache, length, length - kept):
                return 0
        if len(parents) != len(self._rows) or parents.tolist() != list(range(len(parents))):
            self._cache.reorder_cache(cast(torch.LongTensor, parents))
            self._logits = self._logits[parents]
        return kept


def crop(cache: DynamicCache, length: int, remove: int) -> bool:
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
