"""Intervals by resampling prompts, and differences between variants on the same prompts."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from hf_prosocial.errors import ProsocialError
from hf_prosocial.estimates import Estimate

RESAMPLES = 2000

Rewards = Float[np.ndarray, "prompts ..."]


def bootstrap(
    values: Rewards, statistic: Callable[[Rewards], float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """A statistic of prompts, with its 95 % percentile interval over resampled prompts (`scipy.stats.bootstrap`).

    Args:
        values: whatever belongs to each prompt; the first axis is resampled.
        statistic: of such an array.
        seed: of the resampling.
        resamples: how many.

    Raises:
        ValueError: fewer than two prompts, or values that are NaN: a mean over the others would be silently another.
    """
    _check(values)
    found: Any = stats.bootstrap(
        (np.arange(len(values)),),
        lambda rows: statistic(values[rows]),
        vectorized=False,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = found.confidence_interval
    return Estimate(float(statistic(values)), float(interval.low), float(interval.high), len(values))


def bootstrap_mean(values: Rewards, *, seed: int = 0) -> Estimate:
    """The mean of all values, with its interval over resampled prompts; as `bootstrap`."""
    return bootstrap(values, lambda some: float(some.mean()), seed=seed)


def paired_difference(
    one: Float[np.ndarray, " prompts"], other: Float[np.ndarray, " other_prompts"], *, seed: int = 0
) -> tuple[Estimate, float]:
    """The mean difference on the same prompts with its interval, and the p-value of a sign-flipping permutation test.

    Raises:
        ValueError: different numbers of prompts, fewer than two, or values that are NaN.
    """
    if one.shape != other.shape:
        raise ProsocialError(
            f"{len(one)} prompts of one variant and {len(other)} of the other; they must be the same ones"
        )
    difference = one - other
    estimate = bootstrap_mean(difference, seed=seed)
    found: Any = stats.permutation_test(
        (one, other),
        lambda first, second, axis: (first - second).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return estimate, float(found.pvalue)


def _check(values: Rewards) -> None:
    if len(values) < 2:
        raise ProsocialError(f"an interval needs two prompts or more, found {len(values)}")
    bad = np.flatnonzero(np.isnan(values.reshape(len(values), -1)).any(axis=1))
    if len(bad):
        raise ProsocialError(f"the values of prompts {bad[:10].tolist()} are NaN ({len(bad)} of {len(values)})")
