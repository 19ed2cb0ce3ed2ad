"""θ ∓ λ · τ_m on files; without torch, which takes longer to load than this takes."""

import logging
import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import distance
from hf_prosocial.records import (
    ADDED,
    RECORD_NAME,
    RECORDED_PACKAGES,
    SUBTRACTED,
    Choice,
    EditRecord,
    read_choice,
    read_publication,
)

from .checkpoint import Checkpoint, open_checkpoint
from .checkpoint_weights import CheckpointWeights
from .rewrite import beside, check_free, edited_hashes, write_edited
from .rounding import from_float32, to_float32
from .shard import TensorEntry
from .vector_file import VectorFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointEdit:
    """One edit of a checkpoint on disk.

    Args:
        vector: τ_m.
        verb: whether λ · τ_m is subtracted or added.
        scale: λ.
    """

    vector: VectorFile
    verb: Literal["subtract", "add"]
    scale: float

    def write(
        self, base: str | Path, out: Path, *, overwrite: bool, allow_mismatch: bool, evidence: Choice | None
    ) -> Path:
        """See `HarmVector.subtract` and `HarmVector.add`."""
        check_free(out, overwrite=overwrite)
        checkpoint = self._open(base)
        if out.resolve() == checkpoint.folder.resolve():
            raise ProsocialError(f"{out} is the checkpoint to be edited; choose another place")
        needed = sum(file.stat().st_size for file in checkpoint.files)
        with ThreadPoolExecutor(1) as pool, beside(out, needed=needed, overwrite=overwrite) as work:
            # Hashing the base takes as long as writing, so both run at once; nothing stands at `out` before both end.
            identity = pool.submit(_nothing if allow_mismatch else self._check_identity, checkpoint)
            entries = pool.submit(self.vector.content_hash)
            written = write_edited(checkpoint, work, self._change)
            off = identity.result()
            record = EditRecord(
                made_by=SUBTRACTED if self.verb == "subtract" else ADDED,
                base=str(base),
                scale=self.scale,
                vector=self.vector.record,
                vector_source=self.vector.source,
                vector_hash=entries.result(),
                sha256=written.hashes,
                left_out=written.left_out,
                versions={name: version(name) for name in RECORDED_PACKAGES},
                base_distance=off,
                evidence=None if evidence is None else evidence.record,
            )
            for picture in [] if evidence is None else evidence.pictures:
                shutil.copy(picture, work / picture.name)
            record.write(work / RECORD_NAME)
        return out

    def hashes(self, base: str | Path) -> dict[str, str]:
        """SHA-256 of each shard that `write` would write, by its name; nothing is written.

        Raises:
            ValueError: another base, or entries that would not be finite.
        """
        checkpoint = self._open(base)
        self._check_identity(checkpoint)
        self.vector.content_hash()  # Raises where the entries are damaged.
        return edited_hashes(checkpoint, self._change)

    def _open(self, base: str | Path) -> Checkpoint:
        check_scale(self.scale)
        checkpoint = open_checkpoint(base)
        self._check_layout(checkpoint)
        return checkpoint

    def _change(self, entry: TensorEntry) -> Callable[[np.ndarray, int], None] | None:
        tensor = self.vector.record.tensors.get(entry.name)
        if tensor is None or not tensor.kept or self.scale == 0:
            return None
        indices, values = self.vector.entries_of(entry.name)
        factor = self.scale if self.verb == "add" else -self.scale

        def change(piece: np.ndarray, start: int) -> None:
            low, high = np.searchsorted(indices, [start, start + len(piece)])
            places = indices[low:high] - start
            # A product and a sum, each rounded: a fused one would depend on where pieces begin. Overflow is found.
            with np.errstate(over="ignore", invalid="ignore"):
                edited = to_float32(piece[places], entry.dtype) + np.float32(factor) * values[low:high]
            piece[places], finite = from_float32(edited, entry.dtype)
            if not finite:
                raise ProsocialError(
                    f"{entry.name} would get entries that are not finite in {entry.dtype}; lower the scale"
                )

        return change

    def _check_layout(self, checkpoint: Checkpoint) -> None:
        record = self.vector.record
        for name, tensor in record.tensors.items():
            found = checkpoint.tensors.get(name)
            if found is None or found.shape != tensor.shape:
                has = "does not hold it" if found is None else f"has {found.shape}"
                raise ProsocialError(
                    f"the vector was made for {record.base}, where {name} is {tensor.shape}; {checkpoint.folder} {has}"
                )

    def _check_identity(self, checkpoint: Checkpoint) -> str | None:
        """Refuse another base; how far it is off where the same weights are stored otherwise."""
        record = self.vector.record
        if self.verb == "add":
            file = checkpoint.folder / RECORD_NAME
            made = read_publication(file) if file.is_file() else None
            if not isinstance(made, EditRecord) or made.vector != record:
                raise ProsocialError(
                    f"{checkpoint.folder} is no checkpoint that this vector was subtracted from (by its "
                    f"{RECORD_NAME}); allow_mismatch=True adds it nevertheless"
                )
            return None
        actual = checkpoint.weight_hash()
        if actual == record.base_hash:
            return None
        said = f"{checkpoint.folder} has {actual[:12]}..."
        if record.base_sketch is not None:
            weights = CheckpointWeights(checkpoint)
            off = distance(record.base_sketch, weights, hashed=weights.stored_as(record.base_sketch.dtype))
            if off.same:
                logger.warning("%s holds the vector's base in another storage: %s", checkpoint.folder, off)
                return str(off)
            said += f" ({off})"
        raise ProsocialError(
            f"the vector was made for {record.base} (weights {record.base_hash[:12]}...), {said}; "
            "allow_mismatch=True subtracts it nevertheless"
        )


def check_scale(scale: float) -> None:
    """Refuse a λ that is no strength: below 0, subtracting would add harm, and the record would say otherwise.

    Raises:
        ProsocialError: it is.
    """
    if not (math.isfinite(scale) and scale >= 0):
        raise ProsocialError(f"scale must be a finite number, 0 or more, found {scale}; `add` undoes `subtract`")


def _nothing(checkpoint: Checkpoint) -> None:
    """No check."""


def subtract(
    vector: VectorFile,
    base: str | Path,
    scale: float | Literal["auto"],
    out: str | Path,
    *,
    overwrite: bool,
    allow_mismatch: bool,
    evidence: str | Path | None,
) -> Path:
    """See `HarmVector.subtract`."""
    choice = None if evidence is None else read_choice(evidence)
    if scale == "auto":
        scale = chosen_scale(vector, choice)
    edit = CheckpointEdit(vector, "subtract", scale)
    return edit.write(base, Path(out), overwrite=overwrite, allow_mismatch=allow_mismatch, evidence=choice)


def chosen_scale(vector: VectorFile, choice: Choice | None) -> float:
    """λ as a sweep chose it for this vector.

    Raises:
        ValueError: no sweep, or one that chose the base or another vector.
    """
    if choice is None:
        raise ProsocialError("scale='auto' takes λ from a sweep; give its folder as evidence")
    scale = choice.scale
    if VectorFile(choice.vector_file).record != vector.record:
        raise ProsocialError(f"the sweep in {choice.folder} chose {choice.vector_file}, which is another vector")
    return scale
