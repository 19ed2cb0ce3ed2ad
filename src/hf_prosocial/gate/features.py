"""The probe's features of many prompts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import PreTrainedTokenizerBase

from hf_prosocial.data import batches_by_length
from hf_prosocial.io import progress_bar
from hf_prosocial.models import begin_alike, prompt_text, states_after

from .states import check_layers, pooled_states
from .turns import Turns

_BATCH_TOKENS = 4096
_AS_TEXT = 300
"""Prompts of each kind that are learned without a template too, as a base reads running text."""


@dataclass(frozen=True)
class Reader:
    """Reads what a probe goes by, of many prompts.

    Attributes:
        model: the base, in evaluation mode.
        tokenizer: its tokenizer.
        turns: what its template writes around messages.
        layers, mean_layers: see `prompt_states`.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    turns: Turns
    layers: tuple[int, ...]
    mean_layers: tuple[int, ...]

    @classmethod
    def of(cls, model: Any, tokenizer: PreTrainedTokenizerBase, layers: Sequence[int]) -> "Reader":
        """One for a new probe: means are read at every second of the layers (docs/decisions/043)."""
        return cls(model, tokenizer, Turns.of(tokenizer), tuple(layers), tuple(layers[::2]))

    def both(self, texts: Sequence[str], seed: int = 0) -> Float32[np.ndarray, "prompts features"]:
        """Of messages, and behind them of some, drawn by the seed, as texts: what a probe learns from."""
        some = random.Random(seed).sample(texts, min(_AS_TEXT, len(texts)))
        return np.concatenate([self.messages(texts), self.texts(some)])

    def messages(self, messages: Sequence[str]) -> Float32[np.ndarray, "prompts features"]:
        """Of messages as the gate reads them: each as if it opened a conversation."""
        said = [prompt_text(self.tokenizer, [{"role": "user", "content": message}]) for message in messages]
        rows = self.tokenizer(said, add_special_tokens=False)["input_ids"]
        return self._of([self.turns.of_user(row)[-1] for row in rows])

    def texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "prompts features"]:
        """Of texts without a template, which hold no message that could be found."""
        return self._of(self.tokenizer(list(texts))["input_ids"])

    def _of(self, rows: Sequence[Sequence[int]]) -> Float32[np.ndarray, "prompts features"]:
        return features_of(self.model, rows, [self.turns.said_from(row) for row in rows], self.layers, self.mean_layers)


def features_of(
    model: Any,
    rows: Sequence[Sequence[int]],
    said_from: Sequence[int],
    layers: Sequence[int],
    mean_layers: Sequence[int],
) -> Float32[np.ndarray, "prompts features"]:
    """`prompt_states` of many prompts; what all of them begin with is read once.

    Args:
        model: the base, in evaluation mode.
        rows: the prompts' token ids.
        said_from: of each row, where the means begin.
        layers, mean_layers: see `prompt_states`.
    """
    check_layers(model, [*layers, *mean_layers])
    # Of each row something is left to be read, and all that the means run over.
    shared = min(begin_alike(rows), min(map(len, rows)) - 1, *said_from)
    found: dict[int, np.ndarray] = {}
    with progress_bar(len(rows), "reading prompts", "prompt") as progress:
        for batch in batches_by_length([len(row) for row in rows], _BATCH_TOKENS):
            states, mask = states_after(model, [rows[index] for index in batch], shared)
            columns = torch.arange(mask.shape[1], device=mask.device)
            starts = torch.tensor([said_from[index] - shared for index in batch], device=mask.device)
            said = mask * (columns >= starts[:, None])
            states = pooled_states(states, mask, said, layers, mean_layers)
            found |= dict(zip(batch, states.cpu().numpy(), strict=True))
            progress.update(len(batch))
    return np.stack([found[index] for index in range(len(rows))])


def default_layers(model: Any) -> tuple[int, ...]:
    """Four layers around the middle of the model, where what a prompt asks for is told best."""
    most = model.config.get_text_config(decoder=True).num_hidden_layers
    return tuple(sorted({max(1, round(most * part)) for part in (0.47, 0.53, 0.6, 0.67)}))
