"""Between a checkpoint's dtypes, as `TensorEntry.read` gives them, and fp32; no torch, which takes seconds to load."""

import numpy as np
from jaxtyping import Float32, Shaped


def to_float32(stored: Shaped[np.ndarray, " entries"], dtype: str) -> Float32[np.ndarray, " entries"]:
    """Entries in fp32.

    Args:
        stored: as `TensorEntry.read` gives them.
        dtype: as safetensors names it.
    """
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def from_float32(values: Float32[np.ndarray, " entries"], dtype: str) -> tuple[Shaped[np.ndarray, " entries"], bool]:
    """Entries in a checkpoint's dtype, rounded to nearest, ties to even; and whether all of them are finite."""
    finite = bool(np.isfinite(values).all())
    if dtype == "BF16":
        bits = values.view(np.uint32)
        # The part that goes, plus just under a half, or a half where what stays is odd: a carry rounds up.
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        return rounded, finite and not bool(((rounded & 0x7F80) == 0x7F80).any())
    with np.errstate(over="ignore"):
        rounded = values.astype({"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype])
    return rounded, finite and bool(np.isfinite(rounded).all())
