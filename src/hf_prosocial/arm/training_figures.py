"""What a training tells between two log lines: per-objective figures, conflicts, and what projection changed."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class TrainingFigures:
    """Sums over optimiser steps, for `Trainer.log`; means over what was seen since the last log line.

    Args:
        objectives: the names, k of them.
    """

    def __init__(self, objectives: Sequence[str]) -> None:
        self.objectives = tuple(objectives)
        self._clear()

    def add_rows(
        self, objective: Int[Tensor, " rows"], losses: Float[Tensor, " rows"], margins: Float[Tensor, " rows"]
    ) -> None:
        """Count rows: ℓ, and the margin log π_r(y_w) − log π_r(y_l) in nats, above 0 where the pair is ordered."""
        values = torch.stack([torch.ones_like(losses), losses, margins, (margins > 0).float()]).detach().cpu()
        self._rows.index_add_(1, objective.cpu(), values.double())

    def add_step(self, gramian: Float[Tensor, "k k"], present: Sequence[int], weights: Float[Tensor, " k"]) -> None:
        """Count a step: the objectives' gradients by their inner products, and the weights of the update."""
        norms = gramian.diagonal().clamp(min=0).sqrt()
        here = torch.zeros(len(norms), dtype=torch.bool)
        here[list(present)] = True
        both: Bool[Tensor, "k k"] = here[:, None] & here[None] & (norms[:, None] * norms[None] > 0)
        cosines = torch.where(both, gramian / (norms[:, None] * norms[None]).clamp(min=1e-300), 0.0)
        self._pairs += both
        self._cosines += cosines
        self._conflicts += (cosines < 0) & both
        self._norms += torch.where(here, norms, 0.0)
        self._steps_with += here
        plain = here.to(gramian.dtype)
        change, sum_of_all = (_norm(gramian, combination) for combination in (weights - plain, plain))
        self._change += change / sum_of_all if sum_of_all > 0 else 0.0
        self._steps += 1

    def take(self) -> dict[str, float]:
        """The means since the last call, by name; what was not seen is left out."""
        figures: dict[str, float] = {}
        for index, name in enumerate(self.objectives):
            count, loss, margin, right = self._rows[:, index].tolist()
            if count:
                figures |= {f"loss/{name}": loss / count, f"margin/{name}": margin / count}
                figures[f"accuracy/{name}"] = right / count
            if self._steps_with[index]:
                figures[f"grad_norm/{name}"] = float(self._norms[index] / self._steps_with[index])
        upper = torch.triu(self._pairs, diagonal=1)
        for one, other in upper.nonzero().tolist():
            names = f"{self.objectives[one]}~{self.objectives[other]}"
            figures[f"cosine/{names}"] = float(self._cosines[one, other] / self._pairs[one, other])
        if upper.sum() > 0:
            figures["conflicts"] = float(torch.triu(self._conflicts, diagonal=1).sum() / upper.sum())
        if self._steps:
            figures["update_change"] = self._change / self._steps
        self._clear()
        return figures

    def _clear(self) -> None:
        k = len(self.objectives)
        self._rows = torch.zeros(4, k, dtype=torch.float64)
        self._pairs, self._cosines, self._conflicts = (torch.zeros(k, k, dtype=torch.float64) for _ in range(3))
        self._norms, self._steps_with = torch.zeros(k, dtype=torch.float64), torch.zeros(k)
        self._change, self._steps = 0.0, 0


def _norm(gramian: Float[Tensor, "k k"], combination: Float[Tensor, " k"]) -> float:
    """|Σ_i c_i g_i|."""
    return float((combination @ gramian @ combination).clamp(min=0).sqrt())
