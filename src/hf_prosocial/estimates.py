"""Figures with their intervals."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

Z95 = 1.959964
"""Two-sided 95 % of the normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, and the number of pairs behind it."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def proportion(differences: Float[Tensor, " pairs"]) -> Estimate:
    """Share of differences above 0, ties counting 0.5, with the Wilson score interval at 95 %."""
    count = len(differences)
    if count == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    share = ((differences > 0).float() + 0.5 * (differences == 0).float()).mean().item()
    return Estimate(share, *wilson(share, count), count)


def wilson(share: float, count: int) -> tuple[float, float]:
    """The Wilson score interval of a share of `count`, at 95 %."""
    centre = (share + Z95**2 / (2 * count)) / (1 + Z95**2 / count)
    half = Z95 * (share * (1 - share) / count + Z95**2 / (4 * count**2)) ** 0.5 / (1 + Z95**2 / count)
    return centre - half, centre + half


def mean_estimate(values: Float[Tensor, " pairs"]) -> Estimate:
    """A mean with its normal 95 % interval."""
    count = len(values)
    if count < 2:
        return Estimate(values.mean().item(), float("-inf"), float("inf"), count)
    mean, half = values.mean().item(), Z95 * values.std().item() / count**0.5
    return Estimate(mean, mean - half, mean + half, count)
