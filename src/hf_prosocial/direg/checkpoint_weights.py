"""A checkpoint's weights on disk, for sketches."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from .checkpoint import Checkpoint, chunks
from .rounding import to_float32

_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


@dataclass(frozen=True)
class CheckpointWeights:
    """The weights of a checkpoint as `Weights`, read a piece at a time."""

    checkpoint: Checkpoint

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight, by name."""
        return {name: entry.shape for name, entry in self.checkpoint.tensors.items() if entry.dtype in _NAMES}

    def dtype(self, name: str) -> str:
        """A weight's dtype, as in "float32" or "bfloat16"."""
        return _NAMES[self.checkpoint.tensors[name].dtype]

    def stored_as(self, dtype: str) -> bool:
        """Whether all weights are stored in one dtype, as "float32"."""
        return {self.dtype(name) for name in self.sizes()} == {dtype}

    def read(self, name: str, start: int, stop: int) -> Float32[np.ndarray, " entries"]:
        """Entries [start, stop) of the flattened weight, fp32."""
        entry = self.checkpoint.tensors[name]
        return to_float32(entry.read(start, stop), entry.dtype).astype(np.float32)

    def norm(self, name: str) -> float:
        """The root mean square of a weight's entries."""
        entry = self.checkpoint.tensors[name]
        total = sum(float(np.square(self.read(name, *piece).astype(np.float64)).sum()) for piece in chunks(entry))
        return (total / max(entry.size, 1)) ** 0.5
