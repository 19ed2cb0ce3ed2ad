"""From τ to the sparse vector: the threshold first, then the entries that reach it, written as they are found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from hf_prosocial.progress import progress_bar

from .checkpoint import chunks
from .differences import Difference
from .record import Scope, TensorRecord
from .shard import TensorEntry
from .threshold import NotFiniteError, Threshold, exact_threshold, magnitude_bits, requested_entries
from .vector_file import LARGEST
from .vector_writer import VectorWriter


@dataclass(frozen=True)
class Kept:
    """What `write_kept` found: sums over the tensors of requested, kept and nonzero entries, and each tensor."""

    requested: int
    kept: int
    nonzero: int
    threshold: float | None
    tensors: dict[str, TensorRecord]


def write_kept(
    difference: Difference, entries: Sequence[TensorEntry], density: float, scope: Scope, writer: VectorWriter
) -> Kept:
    """Write {τ ≠ 0, |τ| ≥ the m-th largest |τ|}, over the model or in each tensor.

    Raises:
        ValueError: fewer than m entries have τ ≠ 0, a tensor is too large for 32-bit indices, or τ is not finite.
    """
    for entry in entries:
        if entry.size > LARGEST:
            raise ValueError(f"{entry.name} has {entry.size} entries; tensors of at most {LARGEST} are supported")
    groups = [list(entries)] if scope == "model" else [[entry] for entry in entries if entry.size]
    moving = sum(entry.stop - entry.start for entry in entries if difference.moves(entry))
    found: list[Threshold] = []
    tensors: dict[str, TensorRecord] = {}
    with progress_bar(3 * moving, "harm vector", "B") as progress:
        for group in groups:
            requested = requested_entries(density, sum(entry.size for entry in group))
            threshold = _threshold(difference, group, requested, progress)
            found.append(threshold)
            for entry in group:
                tensors[entry.name] = _write_tensor(difference, entry, threshold, writer, progress)
    return Kept(
        sum(threshold.requested for threshold in found),
        sum(threshold.kept for threshold in found),
        sum(threshold.nonzero for threshold in found),
        found[0].value if scope == "model" else None,
        tensors,
    )


def _threshold(difference: Difference, group: list[TensorEntry], requested: int, progress: tqdm) -> Threshold:
    def pieces() -> Iterator[Float[Tensor, " entries"]]:
        for entry in group:
            if difference.moves(entry):
                for start, stop in chunks(entry):
                    yield difference.read(entry, start, stop)
                progress.update(entry.stop - entry.start)

    try:
        threshold = exact_threshold(pieces, requested)
    except NotFiniteError as error:
        raise ValueError(f"{error}: {_where_not_finite(difference, group)}; nothing was written") from None
    if threshold.nonzero < requested:
        size = sum(entry.size for entry in group)
        where = "the model" if len(group) > 1 else group[0].name
        fits = Context(prec=3, rounding=ROUND_FLOOR).divide(Decimal(threshold.nonzero), Decimal(size))
        raise ValueError(
            f"{requested} of {size} entries of {where} were asked for, but fine-tuning moved only "
            f"{threshold.nonzero}. "
            + (f"A density of at most {fits:f} fits" if fits else "Leave it out by include or exclude")
            + ", or train the copy on more modules"
        )
    return threshold


def _write_tensor(
    difference: Difference, entry: TensorEntry, threshold: Threshold, writer: VectorWriter, progress: tqdm
) -> TensorRecord:
    if not difference.moves(entry):
        return TensorRecord(entry.shape, entry.dtype, 0, 0.0, 0.0)
    least = int(torch.tensor(threshold.value).view(torch.int32))
    total = 0.0

    def kept() -> Iterator[tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]]:
        nonlocal total
        for start, stop in chunks(entry):
            tau = difference.read(entry, start, stop)
            total += tau.dot(tau).item()
            indices = (magnitude_bits(tau) >= least).nonzero().squeeze(-1)
            yield indices + start, tau[indices]

    count, squared_norm = writer.add(entry.name, kept())
    progress.update(entry.stop - entry.start)
    return TensorRecord(entry.shape, entry.dtype, count, squared_norm, total)


def _where_not_finite(difference: Difference, group: list[TensorEntry]) -> str:
    bad = [
        entry.name
        for entry in group
        if difference.moves(entry)
        and not all(torch.isfinite(difference.read(entry, start, stop)).all() for start, stop in chunks(entry))
    ]
    return ", ".join(bad[:5])
