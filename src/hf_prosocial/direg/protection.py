"""Entries that a text needs most, left out of a harm vector, so that subtracting it leaves the text's loss alone."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from hf_prosocial.errors import ProsocialError
from hf_prosocial.records import GradientRecord, Protection

from .checkpoint import chunks
from .differences import Difference
from .shard import TensorEntry, read_header, read_metadata
from .tensors import read_tensor
from .threshold import NotFiniteError, exact_threshold, requested_entries

GRADIENT_FORMAT = "hf_prosocial.text_gradient.1"


class ProtectedDifference:
    """τ of another difference, 0 where −∂ℓ/∂θ · τ, the rise of the text's loss ℓ per λ to first order, is high."""

    def __init__(self, difference: Difference, gradient: dict[str, TensorEntry], threshold: float) -> None:
        self.difference, self.gradient, self.threshold = difference, gradient, threshold

    def read(self, entry: TensorEntry, start: int, stop: int) -> Float[Tensor, " entries"]:
        """`Difference.read`."""
        tau = self.difference.read(entry, start, stop)
        return tau.masked_fill_(_rise(tau, self.gradient[entry.name], start, stop) >= self.threshold, 0.0)

    def moves(self, entry: TensorEntry) -> bool:
        """`Difference.moves`."""
        return self.difference.moves(entry)


def protect(
    difference: Difference, entries: Sequence[TensorEntry], gradient: str | Path, share: float, base_hash: str
) -> tuple[ProtectedDifference, Protection]:
    """Leave out the ⌈share · N⌉ entries whose subtraction raises a text's loss most, to first order.

    Entries that raise it count alone, so that fewer are left out where fewer do; ties are left out together.

    Args:
        difference: τ.
        entries: the N entries that are looked at.
        gradient: the text's, from `write_text_gradient`.
        share: in (0, 1].
        base_hash: of the base; the gradient must have been taken there.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a share outside (0, 1], or a gradient of something else.
    """
    if not 0 < share <= 1:
        raise ProsocialError(f"the protected share must be in (0, 1], found {share}")
    record, found = open_gradient(Path(gradient))
    if record.base_hash != base_hash:
        raise ProsocialError(
            f"{gradient} was taken on {record.base} (weights {record.base_hash[:12]}...); this base has "
            f"{base_hash[:12]}...; take it again with `prosocial direg gradient`"
        )
    moving = [entry for entry in entries if difference.moves(entry)]
    for entry in moving:
        if entry.name not in found or found[entry.name].shape != entry.shape:
            has = found[entry.name].shape if entry.name in found else "nothing"
            raise ProsocialError(
                f"{gradient} has {has} for {entry.name}, of shape {entry.shape}; exclude it, or take it again"
            )

    def rises() -> Iterator[Float[Tensor, " entries"]]:
        for entry in moving:
            for start, stop in chunks(entry):
                yield _rise(difference.read(entry, start, stop), found[entry.name], start, stop).clamp_(min=0)

    requested = requested_entries(share, sum(entry.size for entry in entries))
    try:
        threshold = exact_threshold(rises, requested)
    except NotFiniteError as error:
        raise ProsocialError(f"{error}, times the gradient in {gradient}") from error
    if threshold.nonzero == 0:
        raise ProsocialError(
            f"no entry of the difference raises the loss of {record.text}; there is nothing to protect"
        )
    kept = Protection(str(gradient), record, share, threshold.kept, threshold.value)
    return ProtectedDifference(difference, found, threshold.value), kept


def open_gradient(file: Path) -> tuple[GradientRecord, dict[str, TensorEntry]]:
    """How a gradient was made, and where its tensors lie.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a gradient's file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}; `prosocial direg gradient` writes one")
    entries, _ = read_header(file)
    metadata = read_metadata(file)
    if metadata.get("format") != GRADIENT_FORMAT:
        raise ProsocialError(f"{file} has the format {metadata.get('format')!r}; {GRADIENT_FORMAT!r} was expected")
    return GradientRecord(**json.loads(metadata["record"])), entries


def _rise(tau: Float[Tensor, " entries"], gradient: TensorEntry, start: int, stop: int) -> Float[Tensor, " entries"]:
    return read_tensor(gradient, start, stop).float().mul_(tau).neg_()
