"""A loaded model's weights, for sketches."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from .identity import base_parameters


class NamedWeights:
    """Tensors in memory, as `Weights`.

    Args:
        weights: by name.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight, by name."""
        return {name: tuple(weight.shape) for name, weight in self._weights.items()}

    def dtype(self, name: str) -> str:
        """A weight's dtype, as in "float32" or "bfloat16"."""
        return str(self._weights[name].dtype).removeprefix("torch.")

    def read(self, name: str, start: int, stop: int) -> Float32[np.ndarray, " entries"]:
        """Entries [start, stop) of the flattened weight, fp32."""
        return self._weights[name].detach().flatten()[start:stop].float().cpu().numpy()

    def norm(self, name: str) -> float:
        """The root mean square of a weight's entries."""
        weight = self._weights[name].detach()
        wide = torch.promote_types(weight.dtype, torch.float32)
        return float(torch.linalg.vector_norm(weight, dtype=wide) / max(weight.numel(), 1) ** 0.5)


class ModelWeights(NamedWeights):
    """The weights of a model, adapters left out, by their names in memory.

    Args:
        model: loaded into memory.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(base_parameters(model))
