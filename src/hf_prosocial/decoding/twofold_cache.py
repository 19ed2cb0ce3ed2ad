"""The keys and values of base and guide in one cache, which counts each pair of rows as one."""

from typing import Any
from weakref import ReferenceType, ref

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from hf_prosocial.errors import ProsocialError

from .roomy_layer import RoomyLayer


class TwofoldCache(Cache):
    """A cache of 2B rows, the base's and then the guide's, for a generation of B rows.

    `generate` and its helpers reorder, select, repeat and crop B rows; both halves follow.

    Args:
        cache: one that holds nothing yet, static or dynamic; its layers are taken over.

    Raises:
        ValueError: it holds rows already, which would be the base's alone.
    """

    def __init__(self, cache: Cache) -> None:
        if cache.get_seq_length() > 0:
            raise ProsocialError(
                "the cache holds keys and values of one model alone; pass a cache that a GuidedModel returned, or none"
            )
        self._rows = 0
        self._owner: tuple[ReferenceType[object], Tensor, int] | None = None
        if cache.layer_class_to_replicate is None:
            layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
            super().__init__(layers=layers, offloading=cache.offloading)
        else:
            kind = cache.layer_class_to_replicate
            kind = RoomyLayer if kind is DynamicLayer else kind
            super().__init__(layer_class_to_replicate=kind, offloading=cache.offloading)

    def belongs_to(self, model: object, weights: Float[Tensor, "*prompts k"], version: int) -> None:
        """Take a model, its preference and a count of writes to its adapter as those that fill this cache.

        Raises:
            ValueError: others did.
        """
        if self._owner is None or self.get_seq_length() == 0:
            self._owner = ref(model), weights, version
            return
        owner, before, written = self._owner
        if owner() is model and version == written and weights is before:
            return  # As at every step of a generation.
        one, other = torch.atleast_2d(before), torch.atleast_2d(weights).to(before.device)
        alike = len(one) == len(other) or 1 in (len(one), len(other))
        if owner() is not model or version != written or not alike or not bool((one == other).all()):
            changed = "another model" if owner() is not model else "another state of the adapter"
            if owner() is model and version == written:
                changed = f"the preference {before.tolist()}, not {weights.tolist()}"
            raise ProsocialError(
                f"the cache was filled under {changed}; keys and values follow from it, so go on without that cache"
            )

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values of 2B rows to a layer."""
        self._rows = len(key_states) // 2
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def reorder_cache(self, beam_idx: Int[Tensor, " rows"]) -> None:
        """Row i of both halves becomes their row `beam_idx[i]`."""
        super().reorder_cache(self._both(beam_idx))

    def batch_select_indices(self, indices: Int[Tensor, " rows"]) -> None:
        """Keep these rows of both halves."""
        super().batch_select_indices(self._both(indices))

    def _both(self, rows: Int[Tensor, " rows"]) -> Any:
        return torch.cat([rows, rows + self._rows])
