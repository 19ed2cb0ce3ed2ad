"""Whether two models have the same weights but for how they are stored: a sketch of one, compared with the other.

A hash tells whether weights are equal to the bit. Weights that were rounded to bf16, or quantised to 8 or 4 bits, are
another model to a hash and the same one to a person. How far they are off tells nothing: four bits move a weight
farther than fine-tuning does. How they are off does. A rounded weight lies within half a step of the original, anywhere
in it alike. A fine-tuned one either leaves the step, or stays close to where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from hf_prosocial.errors import ProsocialError
from hf_prosocial.records import Block, Sketch

from .storage import EPS, Entries, half_ulp, held_in, step_of

BLOCK = 32
"""Entries of a block: what llama.cpp's formats quantise with one step."""
BLOCKS = 24
"""The most blocks of a sketch."""
LEAST_COUNTED = 128
"""Entries that must be compared before anything is called the same."""
SHARE_BORDER = 0.003
"""The share of entries outside of their step above which weights are others (measured: docs, "Same weights")."""
ROUNDING_BORDERS = (0.8, 1.25)
"""Between which the size of the rounding must lie, over that of an even spread within the step."""
NORM_BORDER = 0.02
"""By which a weight's root mean square may differ."""


@runtime_checkable
class Weights(Protocol):
    """A model's weights, wherever they lie."""

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight, by name."""
        ...

    def dtype(self, name: str) -> str:
        """A weight's dtype, as "float32"."""
        ...

    def read(self, name: str, start: int, stop: int) -> Float32[np.ndarray, " entries"]:
        """Entries [start, stop) of the flattened weight."""
        ...

    def norm(self, name: str) -> float:
        """The root mean square of a weight's entries."""
        ...


@dataclass(frozen=True)
class Distance:
    """How far weights are from those that a sketch was taken of.

    Attributes:
        outside: how many of the compared entries are farther off than how they are stored explains.
        counted: how many were compared.
        rounding: the size of the rounding over that of an even spread within the step; None where nothing was rounded
            to steps.
        other: what makes them another model's at once: a weight that is missing, or of another size or norm.
    """

    outside: int
    counted: int
    rounding: float | None = None
    other: str | None = None

    @property
    def same(self) -> bool:
        """Whether the weights are the same but for how they are stored."""
        if self.other is not None or self.counted < LEAST_COUNTED:
            return False
        low, high = ROUNDING_BORDERS
        if self.rounding is None:  # What was not rounded to steps is where its dtypes put it, to the last entry.
            return self.outside == 0
        # One entry may be off by chance, however few were compared: its block's step was stored in 16 bits.
        return low <= self.rounding <= high and self.outside <= max(1, SHARE_BORDER * self.counted)

    def __str__(self) -> str:
        if self.other is not None:
            return self.other
        spread = "" if self.rounding is None else f", {self.rounding:.2f} times the spread that rounding has"
        return f"{self.outside} of {self.counted} sampled weights are farther off than storage explains{spread}"


def sketch_of(weights: Weights) -> Sketch:
    """The norms of all weights, and blocks of entries of some, evenly spread over those that have two dimensions.

    Raises:
        ProsocialError: quantised weights.
    """
    quantised = _quantised(weights)
    if quantised is not None:
        raise ProsocialError(quantised)
    sizes = weights.sizes()
    wide = [name for name, shape in sorted(sizes.items()) if len(shape) > 1 and int(np.prod(shape)) >= BLOCK]
    chosen = [wide[index * len(wide) // BLOCKS] for index in range(BLOCKS)] if len(wide) > BLOCKS else wide
    blocks = {}
    for place, name in enumerate(chosen):
        count = int(np.prod(sizes[name])) // BLOCK
        start = BLOCK * ((2 * place + 1) * count // (2 * len(chosen)))
        blocks[name] = Block.of(start, weights.read(name, start, start + BLOCK))
    norms = {name: float(f"{weights.norm(name):.4g}") for name in sizes}
    return Sketch(weights.dtype(chosen[0]) if chosen else "float32", norms, blocks)


def distance(sketch: Sketch, weights: Weights, *, hashed: bool) -> Distance:
    """How far weights are from those of a sketch.

    Args:
        sketch: of the recorded weights.
        weights: that were found. Their hash is not the recorded one.
        hashed: whether a hash is recorded of the weights in the dtype that they were found in.
    """
    _check_sketch(sketch)
    other = _another(sketch, weights)
    if other is not None:
        return Distance(0, 0, other=other)
    pairs = list(_pairs(sketch, weights))
    counted = sum(len(pair.found) for pair in pairs)
    outside = sum(int((~(np.abs(pair.recorded - pair.found) <= pair.storage)).sum()) for pair in pairs)
    if outside == 0:
        if hashed and not any(pair.moved.any() for pair in pairs):
            return Distance(0, counted, other="the sampled weights are equal, so that others were edited")
        return Distance(0, counted)
    if not any(pair.step for pair in pairs):
        return Distance(outside, counted)
    return _in_steps(pairs)


@dataclass(frozen=True)
class _Pair:
    """A recorded block and the same block as found.

    Attributes:
        recorded, found: their entries.
        moved: those that one rounding to the found dtype does not explain.
        storage: how far storing in both dtypes may move each.
        recorded_step, found_step: what their entries are multiples of; 0 where there is no such step.
    """

    recorded: Entries
    found: Entries
    moved: np.ndarray
    storage: Entries
    recorded_step: float
    found_step: float

    @property
    def step(self) -> float:
        """The coarser of both steps; 0 where there is none."""
        return max(self.recorded_step, self.found_step)

    @property
    def same_steps(self) -> bool:
        """Whether both lie on steps of one size, as two files of one format do."""
        return min(self.recorded_step, self.found_step) > 0.999 * self.step

    @property
    def inner(self) -> np.ndarray:
        """Which entries are neither the least nor the largest: some formats cut those off."""
        coarse = self.recorded if self.recorded_step >= self.found_step else self.found
        return (coarse > coarse.min()) & (coarse < coarse.max())


def _check_sketch(sketch: Sketch) -> None:
    """Refuse a sketch that cannot be compared.

    Raises:
        ProsocialError: of an unknown dtype, or with a block that is empty or begins before its weight.
    """
    if sketch.dtype not in EPS:
        raise ProsocialError(f"a sketch of weights is in {sketch.dtype!r}, known are {', '.join(EPS)}")
    for name, block in sketch.blocks.items():
        if block.start < 0 or not len(block.entries()):
            raise ProsocialError(f"a sketch of weights holds no entries of {name} (start {block.start})")


def _another(sketch: Sketch, weights: Weights) -> str | None:
    """What makes weights another model's at once. Comparisons are written so that NaN fails them."""
    sizes = weights.sizes()
    quantised = _quantised(weights)
    if quantised is not None:
        return quantised
    for name in sizes:
        if name not in sketch.norms and not _is_tied(name, sketch, weights, sizes):
            return f"{name} is one more than was recorded"
    for name, norm in sketch.norms.items():
        if name not in sizes:
            return f"{name} is missing"
        found = weights.norm(name)
        if not abs(found - norm) <= NORM_BORDER * norm + 1e-12:
            return f"{name} has a root mean square of {found:.4g}, recorded is {norm:.4g}"
    for name, block in sketch.blocks.items():
        if name not in sizes or block.start + len(block.entries()) > int(np.prod(sizes[name])):
            return f"{name} has another size"
    return None


def _is_tied(name: str, sketch: Sketch, weights: Weights, sizes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a weight is a recorded one, stored twice: a file may hold a head that is tied to the embeddings."""
    count = int(np.prod(sizes[name]))

    def equal(one: str, start: int, stop: int) -> bool:
        return np.array_equal(weights.read(one, start, stop), weights.read(name, start, stop))

    # A few entries first: what differs, differs there, and norms and halves are long to read.
    alike = (one for one in sketch.norms if sizes.get(one) == sizes[name] and equal(one, 0, BLOCK))
    return any(weights.norm(one) == weights.norm(name) and equal(one, count // 2, count) for one in alike)


def _quantised(weights: Weights) -> str | None:
    """Which weight is in a dtype that cannot be compared; None where all can be."""
    for name in weights.sizes():
        if weights.dtype(name) not in EPS:
            return f"{name} is in {weights.dtype(name)}, which cannot be compared; load the base without quantisation"
    return None


def _pairs(sketch: Sketch, weights: Weights) -> Iterator[_Pair]:
    for name, block in sketch.blocks.items():
        recorded = block.entries().astype(np.float64)
        found = weights.read(name, block.start, block.start + len(recorded)).astype(np.float64)
        own = half_ulp(recorded, held_in(recorded, sketch.dtype))
        other = half_ulp(found, held_in(found, weights.dtype(name)))
        moved = np.abs(recorded - found) > other
        # A rounding to fp16 may have come between: it moves by an eighth of what one to bf16 does, and the smallest
        # numbers, which lie 2⁻²⁴ apart there, by half of that.
        storage = 1.13 * (own + other) + 2.0**-25
        yield _Pair(recorded, found, moved, storage, step_of(recorded, own), step_of(found, other))


def _in_steps(pairs: list[_Pair]) -> Distance:
    outside = counted = 0
    moved, expected = 0.0, 0.0
    for pair in pairs:
        off = np.abs(pair.recorded - pair.found)
        if pair.step == 0:
            outside, counted = outside + int((~(off <= pair.storage)).sum()), counted + len(off)
            continue
        off, storage = off[pair.inner], pair.storage[pair.inner]
        # The steps' own size is stored in 16 bits, which moves entries by as large a share of the largest.
        steps = pair.step if pair.same_steps else pair.recorded_step + pair.found_step
        storage = storage + 2.0**-11 * np.abs(pair.recorded).max()
        outside, counted = outside + int((~(off <= 0.505 * steps + storage)).sum()), counted + len(off)
        if pair.same_steps:
            continue  # Rounded to the same steps twice, so that nothing is off by a part of one.
        moved += float(np.square(off).sum())
        expected += len(off) * (pair.recorded_step**2 + pair.found_step**2) / 12
    rounding = (moved / expected) ** 0.5 if expected else None
    return Distance(outside, counted, rounding)
