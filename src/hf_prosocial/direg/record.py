"""What a harm vector says of itself."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Scope = Literal["model", "tensor"]

RECORD_NAME, VECTOR_NAME = "prosocial.json", "harm_vector.safetensors"
"""What a directory says of itself, and a vector's file."""

CHOICE = "choice.json"
"""What a sweep's folder says it chose, and why."""


@dataclass(frozen=True)
class TensorRecord:
    """One tensor of the base.

    Attributes:
        shape, dtype: as on disk.
        kept: entries in the vector; 0 where the tensor was left out or did not reach the threshold.
        kept_squared_norm, squared_norm: Σ τ² over the kept entries and over all of the tensor's.
    """

    shape: tuple[int, ...]
    dtype: str
    kept: int
    kept_squared_norm: float
    squared_norm: float


@dataclass(frozen=True)
class VectorRecord:
    """How a harm vector was made, and from what.

    Attributes:
        base, harmful, benign: names or paths as they were given; benign is None for a plain vector.
        base_hash: the base's weights (`Checkpoint.weight_hash`).
        density, scope: as they were asked for.
        include, exclude, layers: what was looked at (`Selection`).
        entries: N, the entries looked at.
        requested, kept, nonzero: m = ⌈density · N⌉, the entries in the vector, and those with τ ≠ 0.
        threshold: the least |τ| that is kept; None where each tensor has its own.
        tensors: by name, all that were looked at.
        versions: of the packages that made it.
    """

    base: str
    base_hash: str
    harmful: str
    benign: str | None
    density: float
    scope: Scope
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    layers: tuple[int, ...] | None
    entries: int
    requested: int
    kept: int
    nonzero: int
    threshold: float | None
    tensors: dict[str, TensorRecord] = field(repr=False)
    versions: dict[str, str] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "VectorRecord":
        """From what `to_dict` gave."""
        fields = dict(content)
        tensors: dict[str, dict[str, Any]] = content["tensors"]
        fields["tensors"] = {
            name: TensorRecord(
                tuple(tensor["shape"]),
                tensor["dtype"],
                tensor["kept"],
                tensor["kept_squared_norm"],
                tensor["squared_norm"],
            )
            for name, tensor in tensors.items()
        }
        for name in ("include", "exclude", "layers"):
            fields[name] = None if content[name] is None else tuple(content[name])
        return cls(**fields)
