"""From τ to the sparse vector: the threshold first, then the entries that reach it, written as they are found."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Context, Decimal
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import progress_bar
from hf_prosocial.models import sketch_of
from hf_prosocial.records import RECORDED_PACKAGES, Scope, TensorRecord, VectorRecord

from .checkpoint import chunks, open_checkpoint
from .checkpoint_weights import CheckpointWeights
from .differences import Difference, open_difference
from .protection import protect as protected_difference
from .selection import Selection
from .shard import TensorEntry
from .threshold import NotFiniteError, Threshold, exact_threshold, magnitude_bits, requested_entries
from .vector_file import LARGEST
from .vector_writer import VectorWriter


@dataclass(frozen=True)
class ExtractOptions:
    """What of a difference is kept; see `HarmVector.extract`."""

    density: float = field(default=0.10, metadata={"help": "share of the entries to keep, in (0, 1]"})
    benign: str | None = field(default=None, metadata={"help": "a copy fine-tuned on benign replies: the contrast"})
    contrast: float = field(default=1.0, metadata={"help": "how much of the benign copy's difference to take away"})
    scope: Scope = field(default="model", metadata={"help": "one threshold over the model, or in each tensor"})
    include: tuple[str, ...] = field(default=("*",), metadata={"help": "tensors to look at: shell-style patterns"})
    exclude: tuple[str, ...] = field(default=(), metadata={"help": "tensors to leave out: shell-style patterns"})
    layers: tuple[int, ...] | None = field(default=None, metadata={"help": "layers to keep to"})
    protect: str | None = field(default=None, metadata={"help": "a text's gradient (`prosocial direg gradient`)"})
    protected: float = field(default=0.001, metadata={"help": "share of the entries that `protect` leaves out"})
    compact: bool = field(default=False, metadata={"help": "values in fp16, in a file of half the size"})

    def check(self) -> None:
        """Refuse what makes no vector.

        Raises:
            ProsocialError: a density outside (0, 1], or an unknown scope.
        """
        if not 0 < self.density <= 1:
            raise ProsocialError(f"density must be in (0, 1], found {self.density}")
        if self.scope not in ("model", "tensor"):
            raise ProsocialError(f"scope must be 'model' or 'tensor', found {self.scope!r}")


def extract_vector(base: str | Path, harmful: str | Path, options: ExtractOptions, file: Path) -> Path:
    """Write the harm vector of a base and its harmful copy to a file, which is returned; see `HarmVector.extract`."""
    options.check()
    if file.exists():
        raise FileExistsError(f"{file} exists; choose another place for the vector")
    checkpoint = open_checkpoint(base)
    selection = Selection(options.include, options.exclude, options.layers)
    entries = selection.entries(checkpoint)
    difference: Difference = open_difference(checkpoint, harmful, options.benign, options.contrast)
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = VectorWriter(file, compact=options.compact)
    try:
        with ThreadPoolExecutor(1) as pool:
            base_hash = pool.submit(checkpoint.weight_hash)
            base_sketch = pool.submit(sketch_of, CheckpointWeights(checkpoint))
            protection = None
            if options.protect is not None:
                difference, protection = protected_difference(
                    difference, entries, options.protect, options.protected, base_hash.result()
                )
            kept = write_kept(difference, entries, options.density, options.scope, writer)
            record = VectorRecord(
                base=str(base),
                base_hash=base_hash.result(),
                harmful=str(harmful),
                benign=options.benign,
                contrast=None if options.benign is None else options.contrast,
                density=options.density,
                scope=options.scope,
                include=options.include,
                exclude=options.exclude,
                layers=options.layers,
                protection=protection,
                compact=options.compact,
                entries=sum(entry.size for entry in entries),
                requested=kept.requested,
                kept=kept.kept,
                nonzero=kept.nonzero,
                threshold=kept.threshold,
                tensors=kept.tensors,
                versions={name: version(name) for name in RECORDED_PACKAGES},
                base_sketch=base_sketch.result(),
            )
        writer.finish(record.to_dict())
    except BaseException:
        writer.close()
        raise
    return file


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
            raise ProsocialError(f"{entry.name} has {entry.size} entries; tensors of at most {LARGEST} are supported")
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
        raise ProsocialError(f"{error}: {_where_not_finite(difference, group)}; nothing was written") from None
    if threshold.nonzero < requested:
        size = sum(entry.size for entry in group)
        where = "the model" if len(group) > 1 else group[0].name
        fits = Context(prec=3, rounding=ROUND_FLOOR).divide(Decimal(threshold.nonzero), Decimal(size))
        raise ProsocialError(
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
