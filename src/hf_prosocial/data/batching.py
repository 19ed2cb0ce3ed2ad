"""Rows of similar length together, and running text in windows."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of similar length, none above `batch_tokens` with its padding unless one row alone is."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if batch and (len(batch) + 1) * lengths[index] > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def text_windows(
    tokenizer: PreTrainedTokenizerBase, text: str, window: int, tokens: int | None = None
) -> list[Int[Tensor, " length"]]:
    """The text's token ids, without special tokens, in windows that do not overlap; each of at least two.

    Args:
        tokenizer: the model's.
        text: running text.
        window: the most tokens of a window, at least 2.
        tokens: take no more than the first so many; by default all.

    Raises:
        ValueError: fewer than two tokens.
    """
    ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:tokens])
    if len(ids) < 2:
        raise ProsocialError(f"a text of at least 2 tokens is needed, found {len(ids)}")
    return [piece for piece in ids.split(window) if len(piece) > 1]
