"""The probe's features of many prompts."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import DynamicCache

from hf_prosocial.data import batches_by_length
from hf_prosocial.io import progress_bar
from hf_prosocial.models import CACHE

from .states import check_layers, last_states

_BATCH_TOKENS = 4096


def features_of(
    model: Any, rows: Sequence[Sequence[int]], layers: Sequence[int]
) -> Float32[np.ndarray, "prompts features"]:
    """`prompt_states` of many prompts; what all of them begin with is read once.

    Args:
        model: the base, in evaluation mode.
        rows: the prompts' token ids.
        layers: see `prompt_states`.
    """
    check_layers(model, layers)
    together = zip(*rows, strict=False)
    shared = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, together))
    shared = min(shared, min(map(len, rows)) - 1)  # Of each row something is left to be read.
    found: dict[int, np.ndarray] = {}
    with progress_bar(len(rows), "reading prompts", "prompt") as progress:
        for batch in batches_by_length([len(row) for row in rows], _BATCH_TOKENS):
            states = _read(model, [rows[index] for index in batch], shared, layers)
            found |= dict(zip(batch, states, strict=True))
            progress.update(len(batch))
    return np.stack([found[index] for index in range(len(rows))])


def default_layers(model: Any) -> tuple[int, ...]:
    """Four layers around the middle of the model, where what a prompt asks for is told best."""
    most = model.config.get_text_config(decoder=True).num_hidden_layers
    return tuple(sorted({max(1, round(most * part)) for part in (0.47, 0.53, 0.6, 0.67)}))


def _read(
    model: Any, rows: Sequence[Sequence[int]], shared: int, layers: Sequence[int]
) -> Float32[np.ndarray, "prompts features"]:
    length = max(map(len, rows))
    ids, mask = torch.zeros(2, len(rows), length, dtype=torch.int64, device=model.device)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = torch.tensor(row), 1
    decoder, cache = model.get_decoder(), DynamicCache(config=model.config)
    with torch.no_grad():
        if shared:
            decoder(input_ids=ids[:1, :shared], **{CACHE: cache})
            cache.batch_repeat_interleave(len(rows))
        states = decoder(
            input_ids=ids[:, shared:], attention_mask=mask, output_hidden_states=True, **{CACHE: cache}
        ).hidden_states
    return last_states(states, mask[:, shared:], layers).cpu().numpy()
