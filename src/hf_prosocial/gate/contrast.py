"""The LoRA factors of a harm vector: of one copy, or the contrast of two, at a rank of one's own."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hf_prosocial.direg import LoraDelta, LowRank, open_checkpoint
from hf_prosocial.errors import ProsocialError

from .low_rank import Factors

_ROUNDING = 1e-20
"""Squared norm of a contrast, relative to what its two parts could have, below which it is rounding alone."""


def contrast_factors(
    base: str, harmful: str | Path, benign: str | Path | None, contrast: float, r: int
) -> tuple[dict[str, Factors], float]:
    """τ = τ_h − c · τ_b of two LoRA copies, each layer's best approximation of rank r.

    Args:
        base: what both were trained on, as `find_base` takes it.
        harmful: the harmful copy, an adapter's directory.
        benign: the benign one; None takes the harmful copy's alone.
        contrast: c.
        r: the rank; where the contrast has a smaller one, that one.

    Returns:
        the factors by layer, and the share of τ's squared norm that they hold.

    Raises:
        ValueError: a copy that is no LoRA of the base, or r below 1.
    """
    if r < 1:
        raise ProsocialError(f"a rank of at least 1 was expected, found {r}")
    checkpoint = open_checkpoint(base)
    harm = LoraDelta(Path(harmful), checkpoint).factors
    kind = {} if benign is None else LoraDelta(Path(benign), checkpoint).factors
    found, held, whole, most = {}, 0.0, 0.0, 0.0
    for name in sorted({*harm, *kind}):
        parts = [_scaled(harm[name], 1.0)] if name in harm else []
        parts += [_scaled(kind[name], -contrast)] if name in kind else []
        A, B = torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts], dim=1)
        factors, values = _truncated(A, B, r)
        found[name.removesuffix(".weight")] = factors
        held, whole = held + float((values[:r] ** 2).sum()), whole + float((values**2).sum())
        most += float(A.square().sum() * B.square().sum())
    if whole <= _ROUNDING * most:
        raise ProsocialError(f"{harmful} differs in nothing from {benign or base}, so that there is no harm vector")
    return found, held / whole


def _scaled(factor: LowRank, by: float) -> tuple[Float[Tensor, "r in"], Float[Tensor, "out r"]]:
    return factor.A.double(), by * factor.scale * factor.B.double()


def _truncated(
    A: Float[Tensor, "many in"], B: Float[Tensor, "out many"], r: int
) -> tuple[Factors, Float[Tensor, " many"]]:
    """The best B' A' of rank r, and all singular values of B A; from the QR of both, so that no B A is built."""
    q_out, r_out = torch.linalg.qr(B)
    q_in, r_in = torch.linalg.qr(A.T)
    left, values, right = torch.linalg.svd(r_out @ r_in.T)
    root = values[:r].sqrt()
    new_B, new_A = q_out @ left[:, :r] * root, root[:, None] * (right[:r] @ q_in.T)
    return Factors(new_A.float().contiguous(), new_B.float().contiguous()), values
