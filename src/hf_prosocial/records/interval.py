"""A figure with its interval, as records hold it."""

from dataclasses import dataclass
from math import isfinite

from .record import STRICT, Number


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval and the number of values behind it."""

    __pydantic_config__ = STRICT
    mean: Number
    low: Number
    high: Number
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def not_told(count: int) -> str:
    """What stands for a figure that is not `known`, of which so many values were."""
    return f"not told: {count} were judged, fewer than 95 %"


def known(figure: float | None) -> bool:
    """Whether a figure is a number: NaN in memory, and null in JSON, stand for one that could not be told."""
    return figure is not None and isfinite(figure)
