"""Which preference each row of a generation belongs to."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_prosocial.errors import ProsocialError

from .per_thread import PerThread


class _Seen(PerThread):
    """The prompts of the thread's generation."""

    prompts: Tensor | None = None


class Lanes:
    """Expands preferences, one a prompt, over the rows that `generate` makes of the prompts.

    Args:
        weights: p, of shape (k,) for all rows, or (prompts, k).
    """

    def __init__(self, weights: Float[Tensor, "*prompts k"]) -> None:
        self.weights = weights
        self._seen = _Seen()

    def of(self, input_ids: Int[Tensor, "rows length"]) -> Int[Tensor, " rows"]:
        """The index of each row's preference: row i of n preferences belongs to preference i // (rows / n).

        12 rows under 4 preferences could be 4 prompts with 3 beams, or 12 prompts: at the first call of a generation
        the rows of one preference must be equal.

        Raises:
            ValueError: rows that are no multiple of the preferences, or different prompts under one preference.
        """
        rows = len(input_ids)
        if self.weights.ndim == 1:
            return torch.zeros(rows, dtype=torch.long, device=input_ids.device)
        count = len(self.weights)
        if rows % count:
            raise ProsocialError(
                f"{count} preferences were given, but generation has {rows} rows; give one preference, or as many as "
                "there are prompts in the batch"
            )
        each = rows // count
        lanes = torch.arange(count, device=input_ids.device).repeat_interleave(each)
        if each > 1 and not self._continues(input_ids, each):
            groups = input_ids.view(count, each, -1)
            if not torch.equal(groups, groups[:, :1].expand_as(groups)):
                raise ProsocialError(
                    f"{count} preferences were given for {rows} rows, {each} a preference, but the rows of one "
                    f"preference hold different prompts; give {rows} preferences, one a prompt"
                )
            self._seen.prompts = groups[:, 0].clone()
        return lanes

    def _continues(self, input_ids: Int[Tensor, "rows length"], each: int) -> bool:
        """Whether the rows go on from prompts that were checked at an earlier call."""
        prompts = self._seen.prompts
        if prompts is None or input_ids.shape[1] <= prompts.shape[1]:
            return False
        return torch.equal(input_ids[:, : prompts.shape[1]], prompts.repeat_interleave(each, dim=0))

    def rows(self, lanes: Int[Tensor, " rows"]) -> Float[Tensor, "*rows k"]:
        """p for each row, or the one p of all rows."""
        return self.weights if self.weights.ndim == 1 else self.weights[lanes]
