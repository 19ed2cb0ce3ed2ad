"""How the gradients of several objectives become one update, from their Gramian  [METHOD, section 2]."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Conflict = Literal["pcgrad", "upgrad", "none"]


def projection_orders(k: int, seed: int, step: int) -> list[list[int]]:
    """For each of k objectives, the random order of the others to project it against; by (seed, step) alone."""
    orders = []
    for objective in range(k):
        order = np.random.default_rng((seed, step, objective)).permutation(k)
        orders.append([int(other) for other in order if other != objective])
    return orders


def pcgrad_weights(gramian: Float[Tensor, "k k"], orders: Sequence[Sequence[int]]) -> Float[Tensor, " k"]:
    """PCGrad as weights w, so that the update is Σ_i w_i g_i  [arXiv 2001.06782, algorithm 1].

    Each g_i, where it conflicts with a g_j, loses its part along the original g_j; the projected gradients are summed.
    As a combination of the g's, that needs their inner products alone.

    Args:
        gramian: G_ij = g_i · g_j.
        orders: for each objective, the others in the order of projection.
    """
    total = torch.zeros_like(gramian[0])
    for objective, order in enumerate(orders):
        projected = torch.zeros_like(total)
        projected[objective] = 1.0
        for other in order:
            product = gramian[other] @ projected
            if product < 0:
                projected[other] -= product / gramian[other, other]
        total += projected
    return total


def conflict_weights(
    gramian: Float[Tensor, "k k"], present: Sequence[int], conflict: Conflict, *, seed: int, step: int
) -> Float[Tensor, " k"]:
    """Weights w of the update Σ_i w_i g_i; 0 for objectives without rows, which stay out of the projection.

    Args:
        gramian: G_ij = g_i · g_j, of the whole optimiser step.
        present: objectives with rows in the step.
        conflict: "pcgrad"; "upgrad", each gradient projected onto the cone that conflicts with none (by TorchJD,
            arXiv 2406.16232); or "none", the plain sum  [PARM].
        seed, step: of the run and the optimiser step.

    Raises:
        ImportError: "upgrad", and TorchJD is not installed (the extra `train`).
    """
    weights = torch.zeros(len(gramian), dtype=gramian.dtype)
    if not present:
        return weights
    chosen = torch.tensor(list(present))
    among = gramian.cpu()[chosen][:, chosen]
    if conflict == "pcgrad":
        weights[chosen] = pcgrad_weights(among, projection_orders(len(chosen), seed, step))
    elif conflict == "upgrad":
        weights[chosen] = _upgrad_weights(among)
    else:
        weights[chosen] = 1.0
    return weights


def _upgrad_weights(gramian: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
    from torchjd.aggregation import UPGradWeighting

    # TorchJD's default is the mean of the projected gradients; METHOD's update is their sum.
    weighting = UPGradWeighting(pref_vector=torch.ones(len(gramian), dtype=gramian.dtype))
    return weighting(gramian)
