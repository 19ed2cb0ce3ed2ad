"""Dropout whose mask is a row's own, so that it is the same in whichever batch or process the row is seen."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hf_prosocial.errors import ProsocialError

_WORD = 0xFFFFFFFF


class RowDropout(nn.Dropout):
    """`nn.Dropout`, and where each row of the batch has a seed, a mask that depends on that and the position alone.

    Attributes:
        seeds: for each row two words of 32 bits, (rows, 2) int64; None for torch's own random masks.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.seeds: Int[Tensor, "rows 2"] | None = None

    def forward(self, input: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        """Zeros with probability p, the rest times 1 / (1 − p), in training; else the input.

        Raises:
            ValueError: rows have seeds, and the input's rows are others.
        """
        if self.seeds is None or not self.training:
            return super().forward(input)
        if input.ndim != 3 or len(input) != len(self.seeds):
            raise ProsocialError(
                f"{len(self.seeds)} rows have a seed for dropout, but the input has the shape {tuple(input.shape)}; "
                "layers that see tokens without their rows cannot be trained with lora_dropout"
            )
        return input * row_mask(self.seeds.to(input.device), input.shape[1], input.shape[2], self.p) / (1 - self.p)


def seed_rows(model: nn.Module, keys: Sequence[tuple[int, ...]] | None) -> None:
    """Give every `RowDropout` of a model seeds that follow from each row's key and the layer; None takes them away."""
    layers = [module for module in model.modules() if isinstance(module, RowDropout)]
    for index, layer in enumerate(layers):
        words = None if keys is None else [np.random.SeedSequence((*key, index)).generate_state(2) for key in keys]
        layer.seeds = None if words is None else torch.from_numpy(np.array(words, dtype=np.int64).reshape(-1, 2))


def row_mask(
    seeds: Int[Tensor, "rows 2"], tokens: int, features: int, p: float
) -> Bool[Tensor, "rows tokens features"]:
    """True with probability 1 − p, by a hash of the seed, the token's position and the feature.

    A generator per row would not do: its numbers would depend on how far the batch is padded.
    """
    counter = torch.arange(tokens * features, device=seeds.device).view(1, tokens, features)
    mixed = _mix((counter + seeds[:, 0, None, None]) & _WORD)
    return _mix(mixed ^ seeds[:, 1, None, None]) >= round(p * (_WORD + 1))


def _mix(word: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """A bijection of 32-bit words that spreads every bit over all (Wellons' hash prospector); no product overflows."""
    for shift, multiplier in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        word = ((word ^ (word >> shift)) * multiplier) & _WORD
    return word ^ (word >> 15)
