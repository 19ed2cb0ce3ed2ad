"""The m-th largest |τ| over many pieces, exactly, without sorting or keeping them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_prosocial.errors import ProsocialError

_HIGH, _LOW = 2**15, 2**16  # the bits of |τ| in fp32, without the sign: exponent and 7 bits of the mantissa, the rest
_NOT_FINITE = 0x7F80  # infinities and NaN have all bits of the exponent set


class NotFiniteError(ProsocialError):
    """A difference is infinite or not a number."""


@dataclass(frozen=True)
class Threshold:
    """|τ| ≥ `value` keeps `kept` entries, `requested` or more where there are ties, of `nonzero` that are not 0."""

    value: float
    requested: int
    kept: int
    nonzero: int


def requested_entries(density: float, entries: int) -> int:
    """m = ⌈density · N⌉, the density as it is written: 0.1 of 30 is 3, which binary fractions would make 4."""
    return int((Decimal(str(density)) * entries).to_integral_value(ROUND_CEILING))


def magnitude_bits(tau: Float[Tensor, " entries"]) -> Int[Tensor, " entries"]:
    """|τ| as int32: fp32 without its sign sorts as an integer does."""
    return tau.view(torch.int32) & 0x7FFFFFFF


def exact_threshold(pieces: Callable[[], Iterable[Float[Tensor, " entries"]]], requested: int) -> Threshold:
    """The `requested`-th largest |τ|, by counts over the high and then over the low bits: two passes.

    Args:
        pieces: gives all pieces of τ, fp32, and the same ones again in the second pass.
        requested: m, at least 1. Where fewer entries are not 0, the value is the least of them, so that
            `kept` < `requested` tells.

    Raises:
        NotFiniteError: an infinity or NaN among the entries.
    """
    counts, zeros = torch.zeros(_HIGH, dtype=torch.int64), 0
    for tau in pieces():
        bits = magnitude_bits(tau)
        counts += torch.bincount(bits >> 16, minlength=_HIGH)
        zeros += len(bits) - int(bits.count_nonzero())
    if counts[_NOT_FINITE:].sum() > 0:
        raise NotFiniteError(f"{int(counts[_NOT_FINITE:].sum())} entries of the difference are infinite or NaN")
    counts[0] -= zeros
    nonzero = int(counts.sum())
    if nonzero == 0:
        return Threshold(0.0, requested, 0, 0)
    high, above = _position(counts, min(requested, nonzero))
    low_counts = torch.zeros(_LOW, dtype=torch.int64)
    for tau in pieces():
        bits = magnitude_bits(tau)
        low_counts += torch.bincount(bits[(bits >> 16) == high] & 0xFFFF, minlength=_LOW)
    if high == 0:
        low_counts[0] -= zeros
    low, above_low = _position(low_counts, min(requested, nonzero) - above)
    kept = above + above_low + int(low_counts[low])
    value = torch.tensor((high << 16) | low, dtype=torch.int32).view(torch.float32).item()
    return Threshold(value, requested, kept, nonzero)


def _position(counts: Int[Tensor, " bins"], rank: int) -> tuple[int, int]:
    """The bin of the `rank`-th largest entry, and how many entries lie in the bins above it."""
    from_above = counts.flip(0).cumsum(0)
    bin_from_above = int(torch.searchsorted(from_above, rank))
    index = len(counts) - 1 - bin_from_above
    return index, int(from_above[bin_from_above] - counts[index])
