"""What a harm vector says of itself."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from hf_prosocial.errors import ProsocialError

from .record import STRICT
from .sketch import Sketch

Scope = Literal["model", "tensor"]

RECORDED_PACKAGES = ("hf-prosocial", "torch", "safetensors")


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
class GradientRecord:
    """How the gradient of a text's loss was made.

    Attributes:
        base: the model's directory or Hub id, as it was given.
        base_hash: its weights (`Checkpoint.weight_hash`).
        text: the text's file, as it was given.
        text_hash: SHA-256 of the file.
        tokens: how many tokens of it were predicted.
        loss: the mean loss on them, nats per token.
        versions: of the packages that made it.
    """

    base: str
    base_hash: str
    text: str
    text_hash: str
    tokens: int
    loss: float
    versions: dict[str, str]


@dataclass(frozen=True)
class Protection:
    """Which entries a vector leaves out for a text's sake.

    Attributes:
        file: the gradient's, as it was given.
        gradient: how that was made.
        share: of the entries looked at, as it was asked for.
        left_out: how many are left out.
        threshold: the least rise of the text's loss, nats per λ to first order, that leaves an entry out.
    """

    file: str
    gradient: GradientRecord
    share: float
    left_out: int
    threshold: float


@dataclass(frozen=True)
class VectorRecord:
    """How a harm vector was made, and from what.

    Attributes:
        base, harmful, benign: names or paths as they were given; benign is None for a plain vector.
        base_hash: the base's weights (`Checkpoint.weight_hash`).
        contrast: c, how much of the benign copy's difference was taken away; None for a plain vector.
        density, scope: as they were asked for.
        include, exclude, layers: what was looked at (`Selection`).
        protection: what was left out for a text's sake; None where nothing was.
        compact: whether its values are rounded to fp16, in a file of half the size.
        entries: N, the entries looked at.
        requested, kept, nonzero: m = ⌈density · N⌉, the entries in the vector, and those with τ ≠ 0.
        threshold: the least |τ| that is kept; None where each tensor has its own.
        tensors: by name, all that were looked at.
        versions: of the packages that made it.
        base_sketch: some of the base's weights, to know it again in another dtype; None in older files.
    """

    __pydantic_config__ = STRICT
    base: str
    base_hash: str
    harmful: str
    benign: str | None
    contrast: float | None
    density: float
    scope: Scope
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    layers: tuple[int, ...] | None
    protection: Protection | None
    compact: bool
    entries: int
    requested: int
    kept: int
    nonzero: int
    threshold: float | None
    tensors: dict[str, TensorRecord] = field(repr=False)
    versions: dict[str, str] = field(repr=False)
    base_sketch: Sketch | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> "VectorRecord":
        """From what `to_dict` gave, or what a file holds in its place.

        Raises:
            ProsocialError: a key that is missing or unknown, or a value of the wrong kind.
        """
        try:
            return TypeAdapter(cls).validate_python(content)
        except ValidationError as error:
            first = error.errors()[0]
            raise ProsocialError(
                f"no record of a harm vector: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            ) from error
