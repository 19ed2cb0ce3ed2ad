"""Which tensors of a checkpoint an edit may touch."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hf_prosocial.errors import ProsocialError

from .checkpoint import Checkpoint
from .shard import TensorEntry


@dataclass(frozen=True)
class Selection:
    """Patterns over the names on disk; embeddings and norms are in by default, as in [SA].

    Args:
        include: shell-style patterns (`*`, `?`, `[...]`), of which a tensor's name must match one.
        exclude: patterns that leave a tensor out again.
        layers: indices of the layers to keep to; tensors outside the layers are then left out. All by default.
    """

    include: Sequence[str] = ("*",)
    exclude: Sequence[str] = ()
    layers: Collection[int] | None = None

    def entries(self, checkpoint: Checkpoint) -> list[TensorEntry]:
        """The selected tensors of floating dtype, in the order of the bytes.

        Raises:
            ValueError: a pattern or a layer that matches nothing, or nothing left.
        """
        names = list(checkpoint.tensors)
        for pattern in (*self.include, *self.exclude):
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ProsocialError(
                    f"the pattern {pattern!r} matches no tensor of {checkpoint.folder}; names look like {names[0]!r}"
                )
        present = {layer_of(name) for name in names}
        for layer in self.layers or ():
            if layer not in present:
                known = sorted(index for index in present if index is not None)
                raise ProsocialError(f"{checkpoint.folder} has no layer {layer}; its layers are {known}")
        selected = [entry for entry in checkpoint.tensors.values() if self._takes(entry) and entry.floating]
        if not any(entry.size for entry in selected):
            raise ProsocialError(
                f"no tensor of {checkpoint.folder} is left: include {self.include}, exclude {self.exclude}"
            )
        return selected

    def _takes(self, entry: TensorEntry) -> bool:
        name = entry.name
        return (
            any(fnmatchcase(name, pattern) for pattern in self.include)
            and not any(fnmatchcase(name, pattern) for pattern in self.exclude)
            and (self.layers is None or layer_of(name) in self.layers)
        )


def layer_of(name: str) -> int | None:
    """The layer that a tensor belongs to: the first number among the parts of its name."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def kind_of(name: str) -> str:
    """The kind of a tensor: its module's name without the layers before it ("q_proj", "embed_tokens")."""
    parts = [part for part in name.split(".") if not part.isdigit()]
    if parts[-1] in ("weight", "bias") and len(parts) > 1:
        return parts[-2] if parts[-1] == "weight" else f"{parts[-2]} bias"
    return re.sub(r"\W+", "_", parts[-1])
