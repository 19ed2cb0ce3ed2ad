"""What storing weights does to them: the spacing of a dtype's numbers, and the steps of a quantised block."""

import numpy as np
from jaxtyping import Bool, Float64

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The spacing of numbers near 1, of the dtypes that weights may be compared in."""
LEVELS = 255
"""The most steps between the least and the largest entry of a quantised block."""

Entries = Float64[np.ndarray, " entries"]


def step_of(values: Entries, room: Entries) -> float:
    """The step that a quantised block's values are multiples of, from its least value on; 0 where there is none.

    Args:
        values: the block's.
        room: how far each may be off for having been stored.
    """
    low, high = values.min(), values.max()
    if low == high:
        return 0.0
    steps = (high - low) / np.arange(1, LEVELS + 1)
    found = np.flatnonzero(_on_steps(values - low, steps, room + room[values.argmin()]))
    if len(found):
        return float(steps[found[0]])
    # Eight bits that are stored in 16: what is known best is that the largest entry is 127 steps from zero.
    eight = np.abs(values).max(keepdims=True) / 127
    return float(eight[0]) if _on_steps(values, eight, 2 * room)[0] else 0.0


def _on_steps(values: Entries, steps: Float64[np.ndarray, " steps"], room: Entries) -> Bool[np.ndarray, " steps"]:
    """For each step, whether all values are multiples of it but for some room, and are so by no chance."""
    multiples = values / steps[:, None]
    share = (room + 1e-7 * np.abs(values)) / steps[:, None]
    fits = (np.abs(multiples - np.round(multiples)) <= share).all(axis=1)
    # Random values fit steps as small as their rounding by chance; these would not in a thousand million tries.
    with np.errstate(divide="ignore"):
        return fits & (np.log(np.minimum(1.0, 2 * share)).sum(axis=1) < np.log(1e-9))


def held_in(values: Entries, dtype: str) -> str:
    """The narrowest dtype that values passed through: narrow weights may be loaded in a wider one."""
    bits = values.astype(np.float32)
    if not (bits.view(np.uint32) & 0xFFFF).any():
        return "bfloat16"
    with np.errstate(over="ignore"):
        halved = bits.astype(np.float16).astype(np.float32)
    return "float16" if dtype != "bfloat16" and np.array_equal(halved, bits) else dtype


def half_ulp(values: Entries, dtype: str) -> Entries:
    """How far the nearest number of a dtype may be; numbers below the normal ones are as far apart as those."""
    least = {"float16": 2.0**-14}.get(dtype, 2.0**-126)
    return EPS[dtype] / 2 * np.maximum(np.abs(values), least)
