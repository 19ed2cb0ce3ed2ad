"""Which preference each training row is seen under."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Sampling = Literal["dirichlet", "size_biased"]


def draw_preferences(
    objectives: Sequence[int],
    lines: Sequence[int],
    *,
    k: int,
    concentration: float,
    sampling: Sampling,
    seed: int,
    step: int,
    draw: int = 0,
) -> tuple[Float[Tensor, "rows k"], Float[Tensor, " rows"]]:
    """A preference p for each row, and the weight of the row's loss.

    "dirichlet" is METHOD's: p ~ Dirichlet(α), and the row of objective i weighs p_i. Most draws then give a row
    little weight. "size_biased" has the same expected loss without the waste: drawing with a density proportional to
    p_i · Dirichlet(α) is drawing from Dirichlet(α + e_i), and the weight becomes its mean, E[p_i] = 1/k.

    The draw depends on (seed, step, line, draw) alone, so that it is the same whichever process sees the row, and
    after a resumed run.

    Args:
        objectives: index of each row's objective, (rows,).
        lines: each row's identity, (rows,).
        k: the number of objectives.
        concentration: α of the symmetric Dirichlet; below 1 it favours the corners.
        sampling: "dirichlet" or "size_biased".
        seed, step: of the run and the optimiser step.
        draw: which of several independent draws for the row.

    Returns:
        p (rows, k) and weights (rows,), fp32.
    """
    p = np.empty((len(lines), k))
    for row, (objective, line) in enumerate(zip(objectives, lines, strict=True)):
        alpha = np.full(k, concentration)
        if sampling == "size_biased":
            alpha[objective] += 1
        p[row] = np.random.default_rng((seed, step, line, draw)).dirichlet(alpha)
    preferences = torch.from_numpy(p).float()
    if sampling == "size_biased":
        return preferences, torch.full((len(lines),), 1 / k)
    return preferences, preferences[torch.arange(len(lines)), torch.as_tensor(objectives)]
