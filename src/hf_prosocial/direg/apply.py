"""θ ∓ λ · τ_m: on files, and on a loaded model."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .checkpoint import Checkpoint, open_checkpoint
from .record import CHOICE, RECORD_NAME, VectorRecord
from .rewrite import beside, check_free, write_edited
from .shard import TensorEntry

RECORDED_PACKAGES = ("hf-prosocial", "torch", "safetensors")


@runtime_checkable
class SparseVector(Protocol):
    """What an edit needs of a `HarmVector`."""

    @property
    def record(self) -> VectorRecord:
        """How it was made, and how much of each tensor it holds."""
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
        self, base: str | Path, out: Path, *, overwrite: bool, allow_mismatch: bool, evidence: Path | None
    ) -> Path:
        """See `HarmVector.subtract` and `HarmVector.add`."""
        if not math.isfinite(self.scale):
            raise ValueError(f"scale must be a finite number, found {self.scale}")
        check_free(out, overwrite=overwrite)
        checkpoint = open_checkpoint(base)
        if out.resolve() == checkpoint.folder.resolve():
            raise ValueError(f"{out} is the checkpoint to be edited; choose another place")
        self._check_layout(checkpoint)
        if not allow_mismatch:
            self._check_identity(checkpoint)
        if evidence is not None and not (evidence / CHOICE).is_file():
            raise FileNotFoundError(f"{evidence} holds no {CHOICE}; the folder of a sweep was expected")
        needed = sum(file.stat().st_size for file in checkpoint.files)
        with beside(out, needed=needed, overwrite=overwrite) as work:
            left_out = write_edited(checkpoint, work, self._change)
            record: dict[str, Any] = {
                "made_by": f"HarmVector.{self.verb}",
                "base": str(base),
                "scale": self.scale,
                "vector": self.vector.record.to_dict(),
                "left_out": left_out,
                "versions": {name: version(name) for name in RECORDED_PACKAGES},
            }
            if evidence is not None:
                record["evidence"] = json.loads((evidence / CHOICE).read_text(encoding="utf-8"))
                for picture in sorted(evidence.glob("*.png")):
                    shutil.copy(picture, work / picture.name)
            (work / RECORD_NAME).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return out

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
            _edit(piece, indices[low:high] - start, values[low:high], self._factor, entry.name)

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
        for name in touched:
            weights = parameters[name]
            indices, values = (part.to(weights.device) for part in vector.entries_of(name))
            _edit(weights.view(-1), indices, values, factor, name)


def _edit(
    weights: Float[Tensor, " entries"],
    indices: Int[Tensor, " kept"],
    values: Float[Tensor, " kept"],
    factor: float,
    name: str,
) -> None:
    """weights[indices] += factor · values, in fp32, cast back to the weights' dtype, in place."""
    # A product and a sum, each rounded: a fused one would depend on where pieces begin.
    edited = (weights[indices].float() + factor * values).to(weights.dtype)
    if not torch.isfinite(edited).all():
        raise ValueError(f"{name} would get entries that are not finite in {weights.dtype}; lower the scale")
    weights[indices] = edited
