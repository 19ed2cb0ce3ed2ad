"""Whether a model's weights were written to since they were looked at."""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from .identity import base_parameters

_ENTRIES = 32
_SPREAD = 2654435761  # 2³² over the golden ratio: multiples of it spread evenly over any range.


@dataclass(frozen=True)
class Written:
    """What is remembered of a model's weights.

    torch counts writes in place, but not those through `.data`, which is how PEFT merges. So some entries of every
    weight are kept too: a merge changes them all.

    Attributes:
        version: how often weights were written to in place, through whichever model shares their memory.
        entries: of each weight, some, on the processor.
    """

    version: int
    entries: dict[str, Tensor]

    @classmethod
    def now(cls, model: nn.Module, *, adapters: bool = False) -> "Written":
        """The weights as they are, those of adapters too if asked for; milliseconds."""
        weights = dict(model.named_parameters()) if adapters else base_parameters(model)
        version = sum(weight._version for weight in weights.values() if not weight.is_inference())
        return cls(version, {name: _some(weight) for name, weight in weights.items()})

    def since(self, earlier: "Written") -> list[str]:
        """The weights that were written to since, by name, or "a weight" where that is all that is known.

        Another device or a conversion to another dtype is no write.
        """
        changed = [
            name
            for name, entries in self.entries.items()
            if name not in earlier.entries or not torch.equal(earlier.entries[name].to(entries.dtype), entries)
        ]
        return changed or (["a weight"] if self.version > earlier.version else [])


def _some(weight: Shaped[Tensor, "..."]) -> Shaped[Tensor, " entries"]:
    flat = weight.detach().flatten()
    if weight.is_meta or flat.numel() == 0:
        return torch.empty(0, dtype=weight.dtype)
    count = min(_ENTRIES, flat.numel())
    places = torch.arange(count, device=flat.device) * _SPREAD % flat.numel()
    return flat[places].nan_to_num().cpu()
