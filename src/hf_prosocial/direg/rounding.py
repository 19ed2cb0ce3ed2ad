"""Between a checkpoint's dtypes, as `TensorEntry.read` gives them, and fp32; no torch, which takes seconds to load."""

import numpy as np
from jaxtyping import Float32, Shaped
from ml_dtypes import bfloat16

_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": bfloat16}


def to_float32(stored: Shaped[np.ndarray, " entries"], dtype: str) -> Float32[np.ndarray, " entries"]:
    """Entries in fp32.

    Args:
        stored: as `TensorEntry.read` gives them.
        dtype: as safetensors names it.
    """
    # numpy has no bfloat16 of its own, so that its bits come as uint16.
    return (stored.view(bfloat16) if dtype == "BF16" else stored).astype(np.float32)


def from_float32(values: Float32[np.ndarray, " entries"], dtype: str) -> tuple[Shaped[np.ndarray, " entries"], bool]:
    """Entries in a checkpoint's dtype, rounded to nearest, ties to even; and whether all of them are finite."""
    finite = bool(np.isfinite(values).all())
    with np.errstate(over="ignore"):
        rounded = values.astype(_DTYPES[dtype])
    finite = finite and bool(np.isfinite(rounded).all())
    return rounded.view(np.uint16) if dtype == "BF16" else rounded, finite
