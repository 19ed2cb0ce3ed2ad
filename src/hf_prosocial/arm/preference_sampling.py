"""Which preference each training row is seen under."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hf_prosocial.errors import ProsocialError

Sampling = Literal["dirichlet", "size_biased", "step", "grid"]


@dataclass(frozen=True)
class PreferenceSampler:
    """Draws a preference p for each row, and the weight of the row's loss.

    - "dirichlet" is METHOD's: p ~ Dirichlet(α) for each row, and the row of objective i weighs p_i. Most draws then
      give a row little weight.
    - "size_biased" has the same expected loss without the waste: drawing with a density proportional to
      p_i · Dirichlet(α) is drawing from Dirichlet(α + e_i), and the weight becomes its mean, E[p_i] = 1/k.
    - "step" is [PARM]'s: one p ~ Dirichlet(α) for all rows of an optimiser step.
    - "grid" draws each row's p evenly from the points of the simplex whose weights are multiples of 1/n.

    A draw depends on (seed, step, line, draw) alone ("step": not on the line), so that it is the same whichever process
    sees the row, and after a resumed run.

    Args:
        k: the number of objectives.
        sampling: which of the four.
        concentration: α of the symmetric Dirichlet; below 1 it favours the corners.
        divisions: n of the grid.
        corners: whether one-hot preferences are among the grid's points.
        seed: of the run.

    Raises:
        ValueError: a grid without points.
    """

    k: int
    sampling: Sampling
    concentration: float
    seed: int
    divisions: int = 4
    corners: bool = True

    def __post_init__(self) -> None:
        if self.sampling == "grid" and not len(self.grid()):
            raise ProsocialError(
                f"the grid of {self.k} objectives in steps of 1/{self.divisions} has no point but the corners; "
                "take more divisions, or the corners too"
            )

    def grid(self) -> Float[np.ndarray, "points k"]:
        """All weights that are multiples of 1/n and sum to 1, with or without the corners."""
        return _grid(self.k, self.divisions, self.corners)

    def draw(
        self, objectives: Sequence[int], lines: Sequence[int], *, step: int, draw: int = 0
    ) -> tuple[Float[Tensor, "rows k"], Float[Tensor, " rows"]]:
        """p (rows, k) and weights (rows,), fp32.

        Args:
            objectives: index of each row's objective, (rows,).
            lines: each row's identity, (rows,).
            step: the optimiser step.
            draw: which of several independent draws for the row.
        """
        drawn = [self._one(objective, line, step, draw) for objective, line in zip(objectives, lines, strict=True)]
        preferences = torch.from_numpy(np.array(drawn).reshape(-1, self.k)).float()
        if self.sampling == "size_biased":
            return preferences, torch.full((len(drawn),), 1 / self.k)
        return preferences, preferences[torch.arange(len(drawn)), torch.as_tensor(objectives)]

    def _one(self, objective: int, line: int, step: int, draw: int) -> Float[np.ndarray, " k"]:
        if self.sampling == "step":
            return np.random.default_rng((self.seed, step, draw)).dirichlet(np.full(self.k, self.concentration))
        random = np.random.default_rng((self.seed, step, line, draw))
        if self.sampling == "grid":
            points = self.grid()
            return points[random.integers(len(points))]
        alpha = np.full(self.k, self.concentration)
        if self.sampling == "size_biased":
            alpha[objective] += 1
        return random.dirichlet(alpha)


@cache
def _grid(k: int, divisions: int, corners: bool) -> Float[np.ndarray, "points k"]:
    # Every row draws from it, so that it is made once.
    points = [
        np.bincount(chosen, minlength=k) / divisions for chosen in combinations_with_replacement(range(k), divisions)
    ]
    return np.array([point for point in points if corners or point.max() < 1]).reshape(-1, k)
