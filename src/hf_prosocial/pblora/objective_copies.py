"""k copies of an adapter's parameters in one layer, so that k objectives leave their gradients apart."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass
class ObjectiveCopies:
    """An adapter's parameters in one layer, k times, and which copy each row of the batch goes through.

    The copies are views of one memory, so that they always hold the parameter's values; their gradients are apart.

    Attributes:
        A (k, r, in), B (k, out, r), W1 (k, r1, r1), W2 (k, k, r2²): leaves of the graph.
        rows: the objective of each row.
    """

    A: Float[Tensor, "k r in"]
    B: Float[Tensor, "k out r"]
    W1: Float[Tensor, "k r1 r1"]
    W2: Float[Tensor, "k k r2r2"]
    rows: Int[Tensor, " rows"]

    @classmethod
    def of(
        cls, A: nn.Parameter, B: nn.Parameter, W1: nn.Parameter, W2: nn.Parameter, rows: Int[Tensor, " rows"]
    ) -> "ObjectiveCopies":
        """k copies of a layer's parameters, k by the rows of W2."""
        copies = [parameter.detach().expand(len(W2), *parameter.shape).requires_grad_() for parameter in (A, B, W1, W2)]
        return cls(*copies, rows.to(A.device))

    def update(
        self, x: Float[Tensor, "rows tokens in"], p: Float[Tensor, "rows k"], scaling: float
    ) -> Float[Tensor, "rows tokens out"]:
        """s · (B1·W1·A1 + B2·W2(p)·A2) x, each row through its own copy."""
        A, B, W1, W2 = (copies[self.rows] for copies in (self.A, self.B, self.W1, self.W2))
        r1 = W1.shape[-1]
        r2 = A.shape[1] - r1
        mixed = torch.einsum("nk,nkc->nc", p, W2).view(-1, r2, r2)
        z1, z2 = torch.bmm(x, A.transpose(1, 2)).split((r1, r2), dim=-1)
        z = torch.cat([torch.bmm(z1, W1.transpose(1, 2)), torch.bmm(z2, mixed.transpose(1, 2))], dim=-1)
        return torch.bmm(z * scaling, B.transpose(1, 2))
