"""How far two judges agree beyond chance."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score


def kappa(one: Sequence[Any] | np.ndarray, other: Sequence[Any] | np.ndarray) -> float:
    """Cohen's κ of two judges' labels of the same replies.

    NaN where both give all replies one label, or there are none: there is nothing to agree on beyond chance.
    """
    constant = len(set(one)) < 2 and len(set(other)) < 2
    return float("nan") if constant else float(cohen_kappa_score(one, other))
