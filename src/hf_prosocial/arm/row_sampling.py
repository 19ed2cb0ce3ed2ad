"""In which order rows are trained on: objectives by shares, rows of similar length together."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler


class RowSampler(Sampler[int]):
    """An epoch of as many rows as there are, objective i's share of them proportional to n_i^τ.

    At τ = 1 each row comes once; at 0 all objectives have as many rows, those of the small ones several times and those
    of the large ones in part, others in the next epoch.

    Args:
        objectives: the objective of each row.
        lengths: of each row, where rows of similar length should come together; else None.
        exponent: τ in [0, 1].
        group: rows of an optimiser step, for grouping by length.
        seed: of the run; the epoch is added to it.
    """

    def __init__(
        self,
        objectives: Sequence[int],
        lengths: Sequence[int] | None,
        exponent: float,
        group: int,
        seed: int,
    ) -> None:
        self._objectives = np.asarray(objectives)
        self._lengths, self._exponent, self._group, self._seed = lengths, exponent, group, seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._objectives)

    def set_epoch(self, epoch: int) -> None:
        """Another order for each epoch; `Trainer` calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rows = self.chosen()
        if self._lengths is None:
            return iter(np.random.default_rng((self._seed, self._epoch, 1)).permutation(rows).tolist())
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        lengths = [self._lengths[row] for row in rows]
        return (rows[index] for index in LengthGroupedSampler(self._group, lengths=lengths, generator=generator))

    def chosen(self) -> list[int]:
        """The epoch's rows, unordered: shares rounded so that they add up, and each objective's rows in turn."""
        count = len(self._objectives)
        names, sizes = np.unique(self._objectives, return_counts=True)
        wanted = sizes**self._exponent * (count / (sizes**self._exponent).sum())
        shares = np.floor(wanted).astype(int)
        shares[np.argsort(shares - wanted, kind="stable")[: count - shares.sum()]] += 1
        rows: list[int] = []
        for name, share, size in zip(names, shares, sizes, strict=True):
            own = np.flatnonzero(self._objectives == name)
            # One endless walk through an objective's rows, shuffled anew at each pass, of which an epoch is a piece.
            places = range(self._epoch * share, (self._epoch + 1) * share)
            passes = range(places.start // size, -(-places.stop // size))
            orders = {one: np.random.default_rng((self._seed, int(name), one)).permutation(size) for one in passes}
            rows += [int(own[orders[place // size][place % size]]) for place in places]
        return rows
