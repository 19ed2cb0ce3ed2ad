"""A checkpoint's entries as torch tensors."""

import torch
from torch import Tensor

from .shard import TensorEntry

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""torch's names of the dtypes whose entries can be edited."""


def read_tensor(entry: TensorEntry, start: int = 0, stop: int | None = None) -> Tensor:
    """Entries [start, stop) of the flattened tensor, in its own dtype.

    Raises:
        ValueError: as in `TensorEntry.read`.
    """
    values = entry.read(start, stop)
    if entry.dtype == "BF16":
        return torch.from_numpy(values.view("<i2")).view(torch.bfloat16)
    return torch.from_numpy(values)
