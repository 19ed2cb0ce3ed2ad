"""Hidden states of many rows, what all of them begin with read once."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from .cache_name import CACHE


def states_after(
    model: Any, rows: Sequence[Sequence[int]], shared: int
) -> tuple[tuple[Float[Tensor, "rows length width"], ...], Int[Tensor, "rows length"]]:
    """The hidden states at every layer, and the mask, of the columns after the shared ones; padded on the right.

    Args:
        model: with `get_decoder`, in evaluation mode.
        rows: token ids.
        shared: how many tokens all rows begin with alike, fewer than any row has.
    """
    ids, mask = torch.zeros(2, len(rows), max(map(len, rows)), dtype=torch.int64)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = torch.tensor(row), 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    decoder, cache = model.get_decoder(), DynamicCache(config=model.config)
    with torch.no_grad():
        if shared:
            decoder(input_ids=ids[:1, :shared], **{CACHE: cache})
            cache.batch_repeat_interleave(len(rows))
        states = decoder(
            input_ids=ids[:, shared:], attention_mask=mask, output_hidden_states=True, **{CACHE: cache}
        ).hidden_states
    return states, mask[:, shared:]


def begin_alike(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with."""
    together = zip(*rows, strict=False)
    return next((at for at, tokens in enumerate(together) if len(set(tokens)) > 1), min(map(len, rows)))
