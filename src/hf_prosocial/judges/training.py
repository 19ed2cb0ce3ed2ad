"""Training the embedded judges: logistic regression on a small model's hidden states, and how good each head is.

Every figure is of replies that the head which gave it was not trained on: rewards and harm rows by five folds of
prompts, XSTest's completions by leaving out one answering model at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, confusion_matrix, recall_score
from sklearn.model_selection import GroupKFold

from hf_prosocial.errors import ProsocialError
from hf_prosocial.estimates import Estimate, proportion

from .embedded import Head
from .features import Features
from .labels import FULL_COMPLIANCE, HARM, REFUSAL

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse strengths of the ridge penalty, on standardised features; the fold's likelihood chooses."""
FOLDS = 5
Outcome = Float[np.ndarray, "replies labels"]


@dataclass(frozen=True)
class Labelled:
    """Replies with a label each.

    Attributes:
        features: of the replies.
        labels: indices.
        groups: what is left out together: prompts, or answering models.
    """

    features: Features
    labels: Int[np.ndarray, " replies"]
    groups: Sequence[str]

    def __getitem__(self, rows: Bool[np.ndarray, " replies"] | Int[np.ndarray, " some"]) -> "Labelled":
        chosen = np.arange(len(self.labels))[rows]
        return Labelled(self.features[rows], self.labels[rows], [self.groups[row] for row in chosen])


def fit_rewards(
    names: Sequence[str],
    chosen: Features,
    rejected: Features,
    objective: Int[np.ndarray, " pairs"],
    groups: Sequence[str],
) -> tuple[Head, dict[str, Estimate]]:
    """One Bradley-Terry head for each objective: P(chosen over rejected) = σ(w · (x_w − x_l)).

    Args:
        names: of the objectives.
        chosen: features of each pair's preferred reply.
        rejected: features of its other reply.
        objective: each pair's, an index into `names`.
        groups: each pair's prompt; pairs of one prompt are held out together.

    Returns:
        the head, trained on all pairs, and each objective's accuracy on pairs whose prompts were held out.

    Raises:
        ValueError: an objective with fewer than ten prompts.
    """
    mean, deviation = _standard(np.concatenate([chosen, rejected]))
    differences = (chosen - rejected) / deviation
    weights, accuracies = [], {}
    for index, name in enumerate(names):
        own = np.flatnonzero(objective == index)
        prompts = [groups[row] for row in own]
        if len(set(prompts)) < 2 * FOLDS:
            raise ProsocialError(f"{name} has {len(set(prompts))} prompts; held-out accuracy needs {2 * FOLDS} or more")
        won = np.empty(len(own))
        for left, right in GroupKFold(FOLDS).split(own, groups=prompts):
            weight = fit_bradley_terry(differences[own[left]], [prompts[row] for row in left])
            won[right] = differences[own[right]] @ weight
        accuracies[name] = proportion(torch.from_numpy(won))
        weights.append(fit_bradley_terry(differences[own], prompts))
    return Head(tuple(names), mean, deviation, np.stack(weights, axis=1), np.zeros(len(names))), accuracies


def fit_bradley_terry(differences: Features, groups: Sequence[str]) -> Float[np.ndarray, " features"]:
    """w of P(chosen over rejected) = σ(w · (x_w − x_l)), its ridge penalty chosen by folds of `groups`.

    Args:
        differences: x_w − x_l of each pair, standardised.
        groups: each pair's prompt.
    """
    folds = list(GroupKFold(FOLDS).split(differences, groups=groups))

    def likelihood(strength: float) -> float:
        return sum(_pair_likelihood(differences[left], differences[right], strength) for left, right in folds)

    return _pair_weight(differences, max(STRENGTHS, key=likelihood))


def fit_refusal(completions: Labelled) -> tuple[Head, dict[str, Any]]:
    """XSTest's three kinds of replies; held out is one answering model at a time.

    Raises:
        ValueError: fewer than three answering models.
    """
    return _fit_labels(REFUSAL, completions, None)


def fit_harm(rows: Labelled, completions: Labelled) -> tuple[Head, dict[str, Any]]:
    """Harmful or safe, on harmful and benign replies and on XSTest's completions of unsafe prompts.

    Held out is one answering model of XSTest at a time, whose human labels say whether it complied in full.

    Args:
        rows: replies by harm or not, HARM's indices.
        completions: to unsafe prompts, labelled by REFUSAL's indices.
    """
    harmful = completions.labels == REFUSAL.index(FULL_COMPLIANCE)
    return _fit_labels(HARM, Labelled(completions.features, (~harmful).astype(np.int64), completions.groups), rows)


def _fit_labels(names: tuple[str, ...], human: Labelled, others: Labelled | None) -> tuple[Head, dict[str, Any]]:
    if len(set(human.groups)) < 3:
        raise ProsocialError(
            f"completions by {sorted(set(human.groups))}; three models or more are needed, to hold one out and to "
            "choose the penalty by another"
        )
    everything = human.features if others is None else np.concatenate([human.features, others.features])
    mean, deviation = _standard(everything)

    def fitted(some: Labelled, strength: float) -> LogisticRegression:
        parts = [some] if others is None else [some, others]
        features = (np.concatenate([part.features for part in parts]) - mean) / deviation
        labels = np.concatenate([part.labels for part in parts])
        return LogisticRegression(C=strength, max_iter=2000).fit(features, labels)

    def held_out(some: Labelled, strength_of: Callable[[Labelled], float]) -> Outcome:
        found, groups = np.empty((len(some.labels), len(names))), np.array(some.groups)
        for group in sorted(set(some.groups)):
            left, right = some[groups != group], some[groups == group]
            found[groups == group] = fitted(left, strength_of(left)).predict_proba((right.features - mean) / deviation)
        return found

    def best_strength(some: Labelled) -> float:
        return max(STRENGTHS, key=lambda one: _log_likelihood(held_out(some, lambda _: one), some.labels))

    # The strength is chosen anew without each model, so that no held-out reply has a say in it.
    figures = _figures(names, held_out(human, best_strength), human)
    whole = fitted(human, best_strength(human))
    weight, bias = whole.coef_.T, whole.intercept_
    if len(names) == 2:
        # scikit-learn has one logit for two labels, that of the second one.
        weight, bias = np.concatenate([-weight / 2, weight / 2], axis=1), np.concatenate([-bias / 2, bias / 2])
    return Head(names, mean, deviation, weight, bias), figures


def _figures(names: tuple[str, ...], outcome: Outcome, human: Labelled) -> dict[str, Any]:
    predicted, groups = outcome.argmax(1), np.array(human.groups)
    right = predicted == human.labels
    shown, said = calibration_curve(right, outcome.max(1), n_bins=10, strategy="quantile")
    return {
        "count": len(right),
        "accuracy": proportion(torch.from_numpy(right - 0.5)),
        "accuracy_by_model": {group: float(right[groups == group].mean()) for group in sorted(set(human.groups))},
        "recall": dict(zip(names, recall_score(human.labels, predicted, average=None).tolist(), strict=True)),
        "confusion": confusion_matrix(human.labels, predicted).tolist(),
        "brier": float(brier_score_loss(right, outcome.max(1))),
        "calibration": {"said": said.tolist(), "right": shown.tolist()},
    }


def _standard(features: Features) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    return features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64) + 1e-6


def _log_likelihood(outcome: Outcome, labels: Int[np.ndarray, " rows"]) -> float:
    return float(np.log(outcome[np.arange(len(labels)), labels]).mean())


def _pair_weight(differences: Features, strength: float) -> Float[np.ndarray, " features"]:
    # Every other pair is turned round: a classifier needs two classes, and w · (x_w − x_l) has no intercept.
    sign = np.where(np.arange(len(differences)) % 2, 1, -1)
    fitted = LogisticRegression(C=strength, fit_intercept=False, max_iter=2000).fit(differences * sign[:, None], sign)
    return fitted.coef_[0]


def _pair_likelihood(trained: Features, held_out: Float[np.ndarray, "others features"], strength: float) -> float:
    return float(-np.logaddexp(0, -(held_out @ _pair_weight(trained, strength))).sum())
