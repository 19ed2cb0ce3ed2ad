"""Reading the newest tokens of rows in whichever way the model allows."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from hf_prosocial.errors import ProsocialError

from .positions import learned_positions
from .rotary import rotary_change
from .steps import Steps, crop
from .way import way_of


class Reader:
    """A model's logits after the newest columns of rows, exact for every kind of mixing.

    Where the cache gives what the whole rows give, it is used; else every call reads the rows from their beginning.

    Args:
        model: a decoder-only model, in evaluation mode; a preference is in force where its adapters need one.

    Raises:
        ProsocialError: as `way_of`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._steps, self._way = Steps(model), way_of(model)
        self._change, self._positions = rotary_change(model.config), learned_positions(model)

    def new_cache(self) -> Any:
        """An empty cache."""
        return self._steps.new_cache()

    def shortened(self, cache: Any, held: int, kept: int) -> int:
        """Take a cache back to its first columns; how many it then holds for sure (0: it must be filled anew)."""
        if cache is None or kept == 0:
            return 0
        if kept < held and (self._parts(kept, held) or not self._way.crops or not crop(cache, held, held - kept)):
            return 0
        return kept

    def read(
        self,
        input_ids: Int[Tensor, "rows length"],
        attention_mask: Int[Tensor, "rows length"],
        cache: Any,
        kept: int,
        last: int = 1,
    ) -> tuple[Float[Tensor, "rows last vocabulary"], Any]:
        """The logits after the last columns, in the model's dtype, and the cache of all columns, if there is one.

        Args:
            input_ids: the rows so far, int64, on the model's device.
            attention_mask: 1 for tokens and 0 for padding, likewise.
            cache: of the first columns.
            kept: how many it holds; 0 fills a new one.
            last: how many columns' logits, no more than are new.

        Raises:
            ProsocialError: padded rows, and a model that does not honour padding.
        """
        if not self._way.padding and bool((attention_mask == 0).any().item()):
            raise ProsocialError(
                f"{type(self.model).__name__} gives padded rows other logits than they have alone; generate for one "
                "prompt at a time, or for prompts of one length"
            )
        length = input_ids.shape[1]
        if self._positions is not None and length > self._positions:
            raise ProsocialError(
                f"{type(self.model).__name__}, which guides, has learned {self._positions} positions, and {length} are "
                "needed; generate less, or guide by a model with more"
            )
        changing = self._change is not None and not self._change.once and length > self._change.length
        if not self._way.cached or changing:
            return self._steps.whole(input_ids, attention_mask, last), None
        if kept and self._parts(kept, length):
            kept = 0
        if kept == 0:
            return self._steps.cached(input_ids, attention_mask, self.new_cache(), 0, last)
        if self._way.several:
            return self._steps.cached(input_ids, attention_mask, cache, kept, last)
        found = []
        for stop in range(kept + 1, length + 1):
            logits, cache = self._steps.cached(input_ids[:, :stop], attention_mask[:, :stop], cache, stop - 1)
            found.append(logits)
        return torch.cat(found[-last:], dim=1), cache

    def _parts(self, shorter: int, longer: int) -> bool:
        return self._change is not None and self._change.parts(shorter, longer)
