"""Linear layers that are quick for a few rows on a processor, where decoding spends its time."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_MOST_ROWS = 64


class FewRowsLinear(nn.Linear):
    """`nn.Linear`; for 2 to 64 rows in fp32 on a processor, x Wᵀ is computed as (W xᵀ)ᵀ.

    The same sums in another order of loops. `python -m benchmarks decode` prints what it gains: on 2 cores, all layers
    of SmolLM2 take 26 instead of 77 ms for 2 rows, 36 instead of 63 for 4, 67 instead of 58 for 8, 179 instead of 213
    for 64.
    """

    def forward(self, input: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        """x Wᵀ + b."""
        rows = input.numel() // self.in_features
        if not 2 <= rows <= _MOST_ROWS or input.dtype is not torch.float32 or input.device.type != "cpu":
            return super().forward(input)
        output = torch.mm(self.weight, input.reshape(rows, self.in_features).t()).t().contiguous()
        if self.bias is not None:
            output += self.bias
        return output.view(*input.shape[:-1], self.out_features)


def use_few_rows(model: nn.Module) -> None:
    """Let a model's plain linear layers be `FewRowsLinear`, in place; their weights stay where they are."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FewRowsLinear
