"""Which columns' logits a forward pass returns."""

import torch
from torch import Tensor


def named_columns(logits_to_keep: int | Tensor, length: int, device: torch.device) -> int | Tensor:
    """The last columns, as `logits_to_keep` counts them, one by one: for several rows' prompts many times quicker.

    A slice of several rows' hidden states is not contiguous, and a frozen output layer then copies its weight for
    every row. All columns (0) and columns that are named already stay as they are.

    Args:
        logits_to_keep: as transformers takes it.
        length: columns of the forward pass.
        device: of its inputs.
    """
    if isinstance(logits_to_keep, Tensor) or logits_to_keep == 0:
        return logits_to_keep
    return torch.arange(max(length - logits_to_keep, 0), length, device=device)
