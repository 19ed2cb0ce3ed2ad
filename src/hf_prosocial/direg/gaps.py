"""Ascending indices as the gaps between them, in 16 bits."""

import numpy as np
from jaxtyping import Int, UInt16

SKIP = 2**16 - 1
"""A code that stands for a gap of so many places without an entry after it."""


def to_gaps(indices: Int[np.ndarray, " entries"]) -> UInt16[np.ndarray, " codes"]:
    """Codes of ascending indices: for each, the places since the one before, after as many `SKIP` as it takes."""
    gaps = np.diff(indices.astype(np.int64), prepend=-1) - 1
    skips = gaps // SKIP
    codes = np.full(len(gaps) + int(skips.sum()), SKIP, dtype=np.uint16)
    codes[np.arange(len(gaps)) + np.cumsum(skips)] = gaps % SKIP
    return codes


def from_gaps(codes: UInt16[np.ndarray, " codes"]) -> Int[np.ndarray, " entries"]:
    """The indices (int32) that `to_gaps` was given."""
    entries = codes != SKIP
    return (np.cumsum(codes.astype(np.int64) + entries) - 1)[entries].astype(np.int32)
