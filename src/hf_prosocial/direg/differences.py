"""τ, what fine-tuning changed, a piece at a time: from whole checkpoints or from LoRA adapters."""

import math
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from hf_prosocial.errors import ProsocialError

from .checkpoint import Checkpoint, open_checkpoint, some_of
from .lora import LoraDelta, is_adapter
from .shard import TensorEntry
from .tensors import read_tensor


@runtime_checkable
class Difference(Protocol):
    """Where τ is read from."""

    def read(self, entry: TensorEntry, start: int, stop: int) -> Float[Tensor, " entries"]:
        """τ of the base's entries [start, stop), whole rows, in fp32."""
        ...

    def moves(self, entry: TensorEntry) -> bool:
        """False where τ is known to be 0 over the whole tensor."""
        ...


class CheckpointDifference:
    """τ = copy − base − c · (benign − base), of whole checkpoints; c = 1 leaves the base out: copy − benign."""

    def __init__(self, base: Checkpoint, copy: Checkpoint, benign: Checkpoint | None, contrast: float) -> None:
        self.base, self.copy, self.benign, self.contrast = base, copy, benign, contrast

    def read(self, entry: TensorEntry, start: int, stop: int) -> Float[Tensor, " entries"]:
        """`Difference.read`."""

        def values(checkpoint: Checkpoint) -> Float[Tensor, " entries"]:
            return read_tensor(checkpoint.tensors[entry.name], start, stop).float()

        copy = values(self.copy)
        if self.benign is None:
            return copy.sub_(values(self.base))
        if self.contrast == 1:
            return copy.sub_(values(self.benign))
        base = values(self.base)
        return copy.sub_(base).sub_(values(self.benign).sub_(base), alpha=self.contrast)

    def moves(self, entry: TensorEntry) -> bool:
        """`Difference.moves`."""
        return True


class AdapterDifference:
    """τ = ΔW of an adapter, less c times that of a benign one where there is one."""

    def __init__(self, adapter: LoraDelta, benign: LoraDelta | None, contrast: float) -> None:
        self.adapter, self.benign, self.contrast = adapter, benign, contrast

    def read(self, entry: TensorEntry, start: int, stop: int) -> Float[Tensor, " entries"]:
        """`Difference.read`."""
        tau = self.adapter.read(entry, start, stop)
        if self.benign is None:
            return tau
        return tau.sub_(self.benign.read(entry, start, stop), alpha=self.contrast)

    def moves(self, entry: TensorEntry) -> bool:
        """`Difference.moves`."""
        return entry.name in self.adapter.factors or (self.benign is not None and entry.name in self.benign.factors)


def open_difference(
    base: Checkpoint, harmful: str | Path, benign: str | Path | None, contrast: float = 1.0
) -> Difference:
    """τ = θ_h − θ, or the contrast θ_h − θ − c · (θ_b − θ).

    Args:
        base: θ.
        harmful: θ_h, a checkpoint (directory or Hub id) or a LoRA adapter's directory.
        benign: θ_b, of the same kind.
        contrast: c, above 0; 1 is θ_h − θ_b.

    Raises:
        ValueError: a contrast that is not a number above 0, copies that do not fit the base, or of two kinds.
    """
    if not 0 < contrast < math.inf:
        raise ProsocialError(f"contrast must be a number above 0, found {contrast}")
    kinds = {is_adapter(Path(copy)) for copy in (harmful, benign) if copy is not None}
    if len(kinds) > 1:
        raise ProsocialError(
            f"{harmful} and {benign} must both be checkpoints or both be adapters, fine-tuned the same way"
        )
    if kinds == {True}:
        adapters = [LoraDelta(Path(copy), base) for copy in (harmful, benign) if copy is not None]
        return AdapterDifference(adapters[0], adapters[1] if benign is not None else None, contrast)
    copies = [open_checkpoint(copy) for copy in (harmful, benign) if copy is not None]
    for copy in copies:
        check_same_layout(base, copy)
    return CheckpointDifference(base, copies[0], copies[1] if benign is not None else None, contrast)


def check_same_layout(base: Checkpoint, copy: Checkpoint) -> None:
    """Refuse a copy with other tensors than its base.

    Raises:
        ValueError: tensors that are missing or extra, of another shape or dtype, or that cannot be edited and differ.
    """
    missing, extra = set(base.tensors) - set(copy.tensors), set(copy.tensors) - set(base.tensors)
    if missing or extra:
        raise ProsocialError(
            f"{copy.folder} is no copy of {base.folder}: it lacks {some_of(missing)} and has besides "
            f"{some_of(extra)}. Fine-tune this base, and save both with the same version of transformers"
        )
    for name, entry in base.tensors.items():
        other = copy.tensors[name]
        for what, expected, found in (("shape", entry.shape, other.shape), ("dtype", entry.dtype, other.dtype)):
            if expected != found:
                raise ProsocialError(f"{name} has {what} {found} in {copy.folder}, but {expected} in {base.folder}")
        if not entry.floating and any(
            one != two for one, two in zip(entry.byte_pieces(), other.byte_pieces(), strict=True)
        ):
            raise ProsocialError(
                f"{name} is {entry.dtype} and differs between {base.folder} and {copy.folder}; such entries cannot be "
                "edited. Dequantise both, or fine-tune without changing them"
            )
