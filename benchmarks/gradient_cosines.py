"""Cosines of objectives' mean gradients, from a sample of each: without what the sample's noise takes from them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from hf_prosocial.estimates import Z95, Estimate

Gradients = Float[np.ndarray, "k samples entries"]
Products = Float[np.ndarray, "k n k n"]
Rows = Int[np.ndarray, " some"]


@dataclass(frozen=True)
class GradientCosines:
    """What independent samples of k objectives' gradients tell of their means.

    Attributes:
        cosines: of every two means, with its 95 % interval; NaN where a mean may be 0; k rows of k.
        signal: |mean|² over a sample's expected |g|²: how much of one sample's gradient is the objective's own.
    """

    cosines: list[list[Estimate]]
    signal: Float[np.ndarray, " k"]


def gradient_cosines(gradients: Gradients) -> GradientCosines:
    """Cosines of the means, by inner products of different samples only: noise, which those do not share, drops out.

    A plain cosine of two noisy gradients is near 0 whatever the means are. The intervals are the jackknife's, leaving
    out one sample at a time.

    Args:
        gradients: n samples of each objective, of rows that no two samples share.

    Raises:
        ValueError: fewer than three samples of each.
    """
    k, n, _ = gradients.shape
    if n < 3:
        raise ValueError(f"{n} samples of each objective; the jackknife needs three or more")
    flat = gradients.reshape(k * n, -1)
    products = (flat @ flat.T).astype(np.float64).reshape(k, n, k, n)
    squares = np.array([_square(products[i, :, i]) for i in range(k)])
    told = np.array([_told_from_zero(products[i, :, i]) for i in range(k)])
    cosines = [[_cosine(products, i, j) if told[i] and told[j] else _unknown(n) for j in range(k)] for i in range(k)]
    return GradientCosines(cosines, squares / np.einsum("iaia->i", products) * n)


def _cosine(products: Products, i: int, j: int) -> Estimate:
    n = products.shape[1]
    if i == j:
        return Estimate(1.0, 1.0, 1.0, n)
    everything, without = np.arange(n), _without_each(n)
    whole = _ratio(products, i, j, everything, everything)
    variance = _jackknife(np.array([_ratio(products, i, j, rows, everything) for rows in without]))
    variance += _jackknife(np.array([_ratio(products, i, j, everything, rows) for rows in without]))
    half = Z95 * variance**0.5
    return Estimate(whole, whole - half, whole + half, n)


def _ratio(products: Products, i: int, j: int, of_i: Rows, of_j: Rows) -> float:
    """The cosine by some of the samples of either objective."""
    cross = products[i][of_i][:, j][:, of_j].mean()
    one, other = (_square(products[at][rows][:, at][:, rows]) for at, rows in ((i, of_i), (j, of_j)))
    return float(cross / np.sqrt(one * other))


def _square(products: Float[np.ndarray, "n n"]) -> float:
    """|mean|², unbiased: the mean inner product of two different samples."""
    n = len(products)
    return float((products.sum() - np.trace(products)) / (n * (n - 1)))


def _told_from_zero(products: Float[np.ndarray, "n n"]) -> bool:
    left_out = np.array([_square(products[rows][:, rows]) for rows in _without_each(len(products))])
    return _square(products) > Z95 * _jackknife(left_out) ** 0.5 and left_out.min() > 0


def _without_each(n: int) -> list[Rows]:
    return [np.delete(np.arange(n), sample) for sample in range(n)]


def _jackknife(left_out: Float[np.ndarray, " n"]) -> float:
    """The variance of a figure, from its values without one sample each."""
    return float(((left_out - left_out.mean()) ** 2).sum() * (len(left_out) - 1) / len(left_out))


def _unknown(n: int) -> Estimate:
    return Estimate(float("nan"), float("nan"), float("nan"), n)
