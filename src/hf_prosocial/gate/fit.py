"""Fitting the gate's probe, choosing where it opens, and how well it tells harm."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from hf_prosocial.errors import ProsocialError
from hf_prosocial.estimates import proportion
from hf_prosocial.records import Interval

from .probe import Probe, folded

STRENGTH = 1e-3
"""Inverse strength of the ridge penalty, on standardised features."""
PEOPLE_WEIGHT = 4.0
"""What a message of a person in need counts beside another harmless prompt."""
OPENS_FOR, FULL_FOR, PEOPLE_FOR = 0.08, 0.02, 0.01
"""Of harmless calibration prompts that sound frightening, the share for which λ is not 0, and for which it is full; of
people in need, the share for which λ is not 0."""
RESAMPLES = 2000
Features = Float32[np.ndarray, "_ features"]
Odds = Float[np.ndarray, " _"]


def fit_probe(
    layers: Sequence[int], mean_layers: Sequence[int], harmful: Features, harmless: Features, people: Features
) -> Probe:
    """Logistic regression of harm; both labels weigh the same. Its thresholds are not set yet (`calibrated`)."""
    features = np.concatenate([harmful, harmless, people])
    labels = np.repeat([1, 0, 0], [len(harmful), len(harmless), len(people)])
    weights = np.repeat([1.0, 1.0, PEOPLE_WEIGHT], [len(harmful), len(harmless), len(people)])
    weights[labels == 1] *= weights[labels == 0].sum() / weights[labels == 1].sum()
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64) + 1e-6
    fitted = LogisticRegression(C=STRENGTH, max_iter=3000).fit((features - mean) / deviation, labels, weights)
    return folded(layers, mean_layers, mean, deviation, fitted.coef_[0], float(fitted.intercept_[0]))


def calibrated(probe: Probe, harmless: Features, people: Features) -> Probe:
    """The probe with the log-odds at which it begins to open, and is fully open.

    Args:
        probe: fitted to other prompts.
        harmless: prompts that sound frightening.
        people: messages of people in need.
    """
    frightening, in_need = probe.of_features(harmless), probe.of_features(people)
    begins = max(np.quantile(frightening, 1 - OPENS_FOR), np.quantile(in_need, 1 - PEOPLE_FOR))
    full = max(np.quantile(frightening, 1 - FULL_FOR), begins + 1e-3)
    return probe.opening(float(begins), float(full))


def gate_figures(
    probe: Probe, harmful: Mapping[str, Features], harmless: Mapping[str, Features], people: Mapping[str, Features]
) -> dict[str, Interval | float]:
    """The share of each set's prompts for which λ is not 0, with Wilson's intervals, and areas under the ROC.

    The area is over all pairs of a harmful prompt and one of the set, with its interval over resampled prompts.
    """
    found: dict[str, Interval | float] = {}
    sets = {"harmful": harmful, "harmless": harmless, "people in need": people}
    odds = {kind: {name: probe.of_features(rows) for name, rows in some.items()} for kind, some in sets.items()}
    for kind, some in odds.items():
        for name, values in some.items():
            found[f"opens: {name} ({kind})"] = _share(values > probe.threshold)
    if harmful:
        asked = np.concatenate(list(odds["harmful"].values()))
        shares = [float((values > probe.threshold).mean()) for values in odds["harmful"].values()]
        found["opens: mean of the harmful sets"] = float(np.mean(shares))
        for kind in ("harmless", "people in need"):
            for name, values in odds[kind].items():
                found[f"area under the ROC, harmful against {name}"] = _area(asked, values)
    return found


def _share(opened: np.ndarray) -> Interval:
    told = proportion(torch.from_numpy(opened - 0.5))
    return Interval(told.mean, told.low, told.high, told.count)


def _area(harmful: Odds, others: Odds, seed: int = 0) -> Interval:
    draw = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [len(harmful), len(others)])
    drawn = [
        roc_auc_score(labels, np.concatenate([draw.choice(harmful, len(harmful)), draw.choice(others, len(others))]))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    area = float(roc_auc_score(labels, np.concatenate([harmful, others])))
    return Interval(area, float(low), float(high), len(labels))


def check_counts(counts: Mapping[str, int]) -> None:
    """Refuse a training that has nothing to learn from.

    Raises:
        ProsocialError: fewer than 20 prompts of a kind.
    """
    few = [f"{count} {name}" for name, count in counts.items() if count < 20]
    if few:
        raise ProsocialError(f"a gate needs 20 prompts or more of each kind, found {', '.join(few)}")
