"""A second model that follows a generation, with a cache of its own kept in step by prefix."""

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .per_thread import PerThread
from .prefix import PrefixHasher, longest_common_prefixes, same_prefix_parents
from .reader import Reader


class Held(PerThread):
    """What is kept of a generation."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Hold nothing."""
        self.cache: Any = None
        self.rows: Tensor | None = None
        self.lanes: Tensor | None = None
        self.logits: Tensor | None = None


class Follower:
    """Gives a model's next-token logits for whatever rows it is shown, at the cost of the new tokens only.

    `generate` does not tell a logits processor which beam a row came from, or that candidates were rejected. So every
    row looks for the row of the last call that it continues: equal tokens and mask mean equal keys and values. Then
    the cache is reordered, cropped, or filled anew. A model whose cache does not give what the whole rows give (see
    `way_of`) reads the rows from their beginning at every step.

    Args:
        reader: of the model that follows.
        before_prefill: called whenever rows continue nothing and the cache is filled anew; it may raise.
    """

    def __init__(self, reader: Reader, before_prefill: Callable[[], None]) -> None:
        self._before_prefill = before_prefill
        self._reader = reader
        self._hasher = PrefixHasher()
        self._held = Held()

    def reset(self) -> None:
        """Forget all rows."""
        self._held.forget()

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

        Raises:
            ProsocialError: padded rows, and a model that does not honour padding.
        """
        rows = input_ids * 2 + attention_mask
        held = self._held
        kept = self._keep_common(rows, lanes)
        cache, logits = held.cache, held.logits
        held.forget()  # If the forward pass fails, nothing half-updated may remain.
        if kept < rows.shape[1] or logits is None:
            if kept == 0:
                self._before_prefill()
            read, cache = self._reader.read(input_ids, attention_mask, cache, kept)
            logits = read[:, -1]
        held.cache, held.rows, held.lanes, held.logits = cache, rows, lanes, logits
        return logits

    def _keep_common(self, rows: Int[Tensor, "rows length"], lanes: Int[Tensor, " rows"]) -> int:
        """Bring the cache to what it shares with `rows`; the number of columns that it then holds."""
        held = self._held
        if held.cache is None or held.rows is None or held.lanes is None or held.logits is None:
            return 0
        length = held.rows.shape[1]
        parents = same_prefix_parents(self._hasher, held.rows, held.lanes, rows, lanes)
        kept = length
        if parents is None:
            parents, kept = longest_common_prefixes(self._hasher, held.rows, held.lanes, rows, lanes)
            # The last token must run again, because only its logits are wanted.
            kept = min(kept, rows.shape[1] - 1)
            kept = self._reader.shortened(held.cache, length, min(kept, length))
            if kept == 0:
                return 0
        if len(parents) != len(held.rows) or parents.tolist() != list(range(len(parents))):
            held.cache.reorder_cache(cast(torch.LongTensor, parents))
            held.logits = held.logits[parents]
        return kept
