"""The gate's probe: logistic regression on what a base makes of a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from .states import prompt_states


@dataclass(frozen=True)
class Probe:
    """Tells harmful requests from harmless ones that sound frightening, and from people in need.

    Attributes:
        layers: whose hidden states it reads of the last token; see `prompt_states`.
        weight: of each feature, standardisation folded in.
        bias: added to the weighted sum.
        threshold: log-odds from which on λ is not 0.
        full: log-odds from which on λ is full; it rises evenly between the two.
        mean_layers: whose mean it reads, over the tokens of what is said.
    """

    layers: tuple[int, ...]
    weight: Float32[np.ndarray, " features"]
    bias: float
    threshold: float = 0.0
    full: float = 0.0
    mean_layers: tuple[int, ...] = ()

    def log_odds(
        self,
        model: Any,
        input_ids: Int[Tensor, "rows length"],
        attention_mask: Int[Tensor, "rows length"],
        said: Int[Tensor, "rows length"] | None = None,
    ) -> Float[Tensor, " rows"]:
        """How likely each prompt is a harmful request, log-odds, fp32.

        Args:
            model: the base that the probe was trained on.
            input_ids: prompts through the chat template, padded.
            attention_mask: 1 for tokens and 0 for padding.
            said: as of `prompt_states`.

        Raises:
            ValueError: as `prompt_states`.
        """
        states = prompt_states(model, input_ids, attention_mask, self.layers, self.mean_layers, said)
        return states @ torch.from_numpy(self.weight).to(states) + self.bias

    def of_features(self, features: Float32[np.ndarray, "prompts features"]) -> Float[np.ndarray, " prompts"]:
        """Log-odds of prompts whose states are at hand."""
        return features.astype(np.float64) @ self.weight.astype(np.float64) + self.bias

    def openness(self, log_odds: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """g(x) in [0, 1]: 0 up to `threshold`, 1 from `full` on, and evenly between."""
        if self.full <= self.threshold:
            return (log_odds > self.threshold).to(log_odds)
        return ((log_odds - self.threshold) / (self.full - self.threshold)).clamp(0, 1)

    def opening(self, threshold: float, full: float) -> "Probe":
        """The same, opening elsewhere."""
        return replace(self, threshold=threshold, full=full)


def folded(
    layers: Sequence[int],
    mean_layers: Sequence[int],
    mean: Float[np.ndarray, " features"],
    deviation: Float[np.ndarray, " features"],
    weight: Float[np.ndarray, " features"],
    bias: float,
) -> Probe:
    """A probe on standardised features as one on the features themselves."""
    scaled = weight / deviation
    weight = scaled.astype(np.float32)
    return Probe(tuple(layers), weight, float(bias - scaled @ mean), mean_layers=tuple(mean_layers))
