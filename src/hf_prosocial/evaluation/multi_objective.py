"""What replies under many preferences are worth: MIP, hypervolume, the control matrix  [METHOD, "What is measured"].

Rewards have the shape (prompts, preferences, k): the k attribute rewards of each prompt's reply under each preference.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import moocore
import numpy as np
from jaxtyping import Float

from hf_prosocial.errors import ProsocialError
from hf_prosocial.estimates import Estimate
from hf_prosocial.preference import Preference

from .bootstrap import bootstrap, bootstrap_mean

REFERENCE = -3.0
"""The reference point of the hypervolume in every z-score, the same for all methods."""

Grid = Float[np.ndarray, "preferences k"]
Rewards = Float[np.ndarray, "prompts preferences k"]


def edges(objectives: Sequence[str], points: int = 11) -> list[Preference]:
    """Preferences along every edge of the simplex, `points` for each pair of objectives; corners once."""
    found: dict[Preference, None] = {}
    for one, other in combinations(objectives, 2):
        for share in np.linspace(0.0, 1.0, points):
            weights = {one: float(share), other: float(1 - share)}
            found[Preference.from_dict(weights, objectives=objectives)] = None
    return list(found)


def simplex_design(objectives: Sequence[str]) -> list[Preference]:
    """The simplex-centroid design: the even mixture of every subset of the objectives, 2^k − 1 preferences."""
    return [
        Preference.from_dict(dict.fromkeys(subset, 1.0), normalize=True, objectives=objectives)
        for size in range(1, len(objectives) + 1)
        for subset in combinations(objectives, size)
    ]


def z_scores(rewards: Rewards, base: Float[np.ndarray, "prompts k"]) -> Rewards:
    """Each reward less the base model's mean, over its standard deviation, on the base's own replies.

    Raises:
        ValueError: rewards of the base that do not vary or are not finite.
    """
    spread = base.std(axis=0, ddof=1)
    if not (np.isfinite(base).all() and (spread > 0).all()):
        raise ProsocialError(f"the base's rewards must be finite and vary, found standard deviations {spread.tolist()}")
    return (rewards - base.mean(axis=0)) / spread


def mean_inner_product(z: Rewards, preferences: Grid) -> Estimate:
    """MIP: the mean over prompts and preferences of p · r(x, y)  [PARM]."""
    return bootstrap_mean(inner_products(z, preferences))


def inner_products(z: Rewards, preferences: Grid) -> Float[np.ndarray, "prompts preferences"]:
    """p · r(x, y) of each prompt under each preference."""
    return np.einsum("npk,pk->np", z, preferences)


def hypervolume(z: Rewards) -> Estimate:
    """HV: what the preferences' mean rewards dominate above `REFERENCE` in every objective  [PARM]; by moocore."""
    return bootstrap(z, lambda values: _dominated(values.mean(axis=0)))


def hypervolume_difference(one: Rewards, other: Rewards) -> Estimate:
    """HV of one variant less that of another on the same prompts, resampled together."""

    def difference(values: Float[np.ndarray, "prompts 2 preferences k"]) -> float:
        first, second = values.mean(axis=0)
        return _dominated(first) - _dominated(second)

    return bootstrap(np.stack([one, other], axis=1), difference)


def _dominated(means: Grid) -> float:
    measure: Any = moocore.Hypervolume(ref=REFERENCE, maximise=True)
    return float(measure(means))


def control(z: Rewards) -> list[Estimate]:
    """For each objective: what its one-hot preference adds to its own reward, over the other one-hot preferences.

    Args:
        z: under the k one-hot preferences, in the order of the objectives.

    Returns:
        for each column of the control matrix, diagonal minus the mean of the other rows, paired over prompts.

    Raises:
        ValueError: other preferences than the k one-hot ones.
    """
    _, rows, k = z.shape
    if rows != k:
        raise ProsocialError(f"control needs replies under the {k} one-hot preferences, found {rows} preferences")
    found = []
    for column in range(k):
        # Differences first: replies that heed no preference differ by exactly nothing, not by a rounding error.
        over_each = z[:, column, [column]] - z[:, :, column]
        found.append(bootstrap_mean(over_each.sum(axis=1) / (k - 1)))
    return found


def control_matrix(z: Rewards) -> Float[np.ndarray, "k k"]:
    """Row one-hot p_i, column the mean z-score of objective j."""
    return z.mean(axis=0)
