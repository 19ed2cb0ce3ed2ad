"""θ ∓ λ · τ_m: on files, and on a loaded model."""

import json
import math
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_prosocial.files import write_json

from .checkpoint import Checkpoint, open_checkpoint
from .choice import Choice
from .record import RECORD_NAME, RECORDED_PACKAGES, VectorRecord
from .rewrite import beside, check_free, edited_hashes, write_edited
from .shard import FLOATING, TensorEntry


@runtime_checkable
class SparseVector(Protocol):
    """What an edit needs of a `HarmVector`."""

    @property
    def record(self) -> VectorRecord:
        """How it was made, and how much of each tensor it holds."""
        ...

    @property
    def source(self) -> str:
        """Where the vector was found."""
        ...

    def content_hash(self) -> str:
        """SHA-256 over all entries."""
        ...

    def entries_of(self, name: str) -> tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]:
        """Indices and values of a tensor's kept entries."""
        ...


@dataclass(frozen=True)
class CheckpointEdit:
    """One edit of a checkpoint on disk.

    Args:
        vector: τ_m.
        verb: whether λ · τ_m is subtracted or added.
        scale: λ.
    """

    vector: SparseVector
    verb: Literal["subtract", "add"]
    scale: float

    def write(
        self, base: str | Path, out: Path, *, overwrite: bool, allow_mismatch: bool, evidence: Choice | None
    ) -> Path:
        """See `HarmVector.subtract` and `HarmVector.add`."""
        check_free(out, overwrite=overwrite)
        checkpoint = self._open(base)
        if out.resolve() == checkpoint.folder.resolve():
            raise ValueError(f"{out} is the checkpoint to be edited; choose another place")
        needed = sum(file.stat().st_size for file in checkpoint.files)
        with ThreadPoolExecutor(1) as pool, beside(out, needed=needed, overwrite=overwrite) as work:
            # Hashing the base takes as long as writing, so both run at once; nothing stands at `out` before both end.
            identity = pool.submit(_nothing if allow_mismatch else self._check_identity, checkpoint)
            written = write_edited(checkpoint, work, self._change)
            identity.result()
            record: dict[str, Any] = {
                "made_by": f"HarmVector.{self.verb}",
                "base": str(base),
                "scale": self.scale,
                "vector": self.vector.record.to_dict(),
                "vector_source": self.vector.source,
                "vector_hash": self.vector.content_hash(),
                "sha256": written.hashes,
                "left_out": written.left_out,
                "versions": {name: version(name) for name in RECORDED_PACKAGES},
            }
            if evidence is not None:
                record["evidence"] = evidence.content
                for picture in evidence.pictures:
                    shutil.copy(picture, work / picture.name)
            write_json(work / RECORD_NAME, record)
        return out

    def hashes(self, base: str | Path) -> dict[str, str]:
        """SHA-256 of each shard that `write` would write, by its name; nothing is written.

        Raises:
            ValueError: another base, or entries that would not be finite.
        """
        checkpoint = self._open(base)
        self._check_identity(checkpoint)
        return edited_hashes(checkpoint, self._change)

    def _open(self, base: str | Path) -> Checkpoint:
        if not math.isfinite(self.scale):
            raise ValueError(f"scale must be a finite number, found {self.scale}")
        checkpoint = open_checkpoint(base)
        self._check_layout(checkpoint)
        return checkpoint

    @property
    def _factor(self) -> float:
        return self.scale if self.verb == "add" else -self.scale

    def _change(self, entry: TensorEntry) -> Callable[[Tensor, int], None] | None:
        tensor = self.vector.record.tensors.get(entry.name)
        if tensor is None or not tensor.kept or self.scale == 0:
            return None
        indices, values = self.vector.entries_of(entry.name)

        def change(piece: Tensor, start: int) -> None:
            low, high = torch.searchsorted(indices, torch.tensor([start, start + len(piece)], dtype=indices.dtype))
            places = indices[low:high] - start
            piece[places] = _edited(piece, places, values[low:high], self._factor, entry.name)

        return change

    def _check_layout(self, checkpoint: Checkpoint) -> None:
        record = self.vector.record
        for name, tensor in record.tensors.items():
            found = checkpoint.tensors.get(name)
            if found is None or (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
                has = "does not hold it" if found is None else f"has {found.dtype} {found.shape}"
                raise ValueError(
                    f"the vector was made for {record.base}, where {name} is {tensor.dtype} {tensor.shape}; "
                    f"{checkpoint.folder} {has}"
                )

    def _check_identity(self, checkpoint: Checkpoint) -> None:
        record = self.vector.record
        if self.verb == "add":
            file = checkpoint.folder / RECORD_NAME
            made = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
            if made.get("vector") != json.loads(json.dumps(record.to_dict())):
                raise ValueError(
                    f"{checkpoint.folder} is no checkpoint that this vector was subtracted from (by its "
                    f"{RECORD_NAME}); allow_mismatch=True adds it nevertheless"
                )
            return
        actual = checkpoint.weight_hash()
        if actual != record.base_hash:
            raise ValueError(
                f"the vector was made for {record.base} (weights {record.base_hash[:12]}...), {checkpoint.folder} has "
                f"{actual[:12]}...; allow_mismatch=True subtracts it nevertheless"
            )


def check_model(vector: SparseVector, model: nn.Module) -> None:
    """Refuse a loaded model whose weights are not those that the vector was made on.

    Raises:
        ValueError: another hash.
    """
    # PEFT comes with it, which takes seconds to load, and editing files needs neither.
    from hf_prosocial.identity import weight_hash

    record = vector.record
    dtypes = {FLOATING[tensor.dtype] for tensor in record.tensors.values()}
    found = {dtype: weight_hash(model, dtype) for dtype in dtypes}
    if record.base_hash not in found.values():
        known = ", ".join(f"{digest[:12]}... in {dtype}" for dtype, digest in found.items())
        raise ValueError(
            f"the vector was made for {record.base} (weights {record.base_hash[:12]}...); the model has {known}. Load "
            "that base in the dtype that it has on disk; allow_mismatch=True edits this model nevertheless"
        )


def edit_model(vector: SparseVector, model: nn.Module, factor: float) -> None:
    """θ += factor · τ_m on a loaded model, in place.

    Raises:
        ValueError: the model lacks a tensor of the vector, or has it in another shape.
    """
    parameters = dict(model.named_parameters())
    touched = {name: tensor for name, tensor in vector.record.tensors.items() if tensor.kept}
    for name, tensor in touched.items():
        if name not in parameters or tuple(parameters[name].shape) != tensor.shape:
            found = tuple(parameters[name].shape) if name in parameters else "nothing"
            raise ValueError(f"the vector edits {name} of shape {tensor.shape}; the model has {found} there")
    with torch.no_grad():
        # Every tensor is tried before the first is changed, so that a refused edit changes nothing.
        for write in (False, True):
            for name in touched:
                weights = parameters[name]
                indices, values = (part.to(weights.device) for part in vector.entries_of(name))
                edited = _edited(weights.view(-1), indices, values, factor, name)
                if write:
                    weights.view(-1)[indices] = edited


def _edited(
    weights: Float[Tensor, " entries"],
    indices: Int[Tensor, " kept"],
    values: Float[Tensor, " kept"],
    factor: float,
    name: str,
) -> Float[Tensor, " kept"]:
    """weights[indices] + factor · values, in fp32, cast back to the weights' dtype."""
    # A product and a sum, each rounded: a fused one would depend on where pieces begin.
    edited = (weights[indices].float() + factor * values).to(weights.dtype)
    if not torch.isfinite(edited).all():
        raise ValueError(f"{name} would get entries that are not finite in {weights.dtype}; lower the scale")
    return edited


def _nothing(checkpoint: Checkpoint) -> None:
    """No check."""
