"""The probe's features of many prompts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from transformers import PreTrainedTokenizerBase

from hf_prosocial.data import batches_by_length
from hf_prosocial.io import progress_bar
from hf_prosocial.models import batch_of, prompt_text

from .states import prompt_states

_BATCH_TOKENS = 4096


def features_of(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[list[dict[str, str]]],
    layers: Sequence[int],
) -> Float32[np.ndarray, "prompts features"]:
    """What a base makes of each conversation, through its chat template, as it is before the base answers.

    Args:
        model: the base, in evaluation mode.
        tokenizer: its own, with a chat template.
        conversations: chat messages, the last of each a user's.
        layers: see `prompt_states`.

    Raises:
        ValueError: a conversation that the template refuses.
    """
    texts = [prompt_text(tokenizer, conversation) for conversation in conversations]
    lengths = [len(row) for row in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    found: dict[int, np.ndarray] = {}
    with progress_bar(len(texts), "reading prompts", "prompt") as progress:
        for batch in batches_by_length(lengths, _BATCH_TOKENS):
            rows = batch_of(tokenizer, [texts[index] for index in batch])
            ids, mask = rows.input_ids.to(model.device), rows.attention_mask.to(model.device)
            states = prompt_states(model, ids, mask, layers).cpu().numpy()
            found |= dict(zip(batch, states, strict=True))
            progress.update(len(batch))
    return np.stack([found[index] for index in range(len(texts))])


def default_layers(model: Any) -> tuple[int, ...]:
    """Four layers around the middle of the model, where what a prompt asks for is told best."""
    most = model.config.get_text_config(decoder=True).num_hidden_layers
    return tuple(sorted({max(1, round(most * part)) for part in (0.47, 0.53, 0.6, 0.67)}))
