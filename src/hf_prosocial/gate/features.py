"""The probe's features of many prompts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from transformers import PreTrainedTokenizerBase

from hf_prosocial.data import batches_by_length
from hf_prosocial.io import progress_bar
from hf_prosocial.models import begin_alike, prompt_text, states_after

from .states import check_layers, last_states
from .turns import Turns

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
    shared = min(begin_alike(rows), min(map(len, rows)) - 1)  # Of each row something is left to be read.
    found: dict[int, np.ndarray] = {}
    with progress_bar(len(rows), "reading prompts", "prompt") as progress:
        for batch in batches_by_length([len(row) for row in rows], _BATCH_TOKENS):
            states, mask = states_after(model, [rows[index] for index in batch], shared)
            found |= dict(zip(batch, last_states(states, mask, layers).cpu().numpy(), strict=True))
            progress.update(len(batch))
    return np.stack([found[index] for index in range(len(rows))])


def features_of_messages(
    model: Any, tokenizer: PreTrainedTokenizerBase, turns: Turns, messages: Sequence[str], layers: Sequence[int]
) -> Float32[np.ndarray, "prompts features"]:
    """`features_of` of messages as the gate reads them: each as if it opened a conversation."""
    said = [prompt_text(tokenizer, [{"role": "user", "content": message}]) for message in messages]
    rows = [turns.of_user(row)[-1] for row in tokenizer(said, add_special_tokens=False)["input_ids"]]
    return features_of(model, rows, layers)


def default_layers(model: Any) -> tuple[int, ...]:
    """Four layers around the middle of the model, where what a prompt asks for is told best."""
    most = model.config.get_text_config(decoder=True).num_hidden_layers
    return tuple(sorted({max(1, round(most * part)) for part in (0.47, 0.53, 0.6, 0.67)}))
