"""Training the embedded judges: logistic regression on a small model's hidden states, and how good each head is.

Every figure is of replies that the head which gave it was not trained on: rewards by five folds of groups, XSTest's
completions by leaving out one answering model at a time, replies to people in need by ten folds of people.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
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

from .cohen import kappa
from .embedded import Head
from .features import Features
from .labels import FULL_COMPLIANCE, HARM, REFUSAL

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Inverse strengths of the ridge penalty, on standardised features; the fold's likelihood chooses."""
FOLDS, PEOPLE_FOLDS = 5, 10
RESAMPLES = 2000
PEOPLE_WEIGHT = 4.0
"""What a reply to a person in need counts beside XSTest's: there are a twelfth as many."""
Outcome = Float[np.ndarray, "replies labels"]


@dataclass(frozen=True)
class Labelled:
    """Replies with a label each.

    Attributes:
        features: of the replies.
        labels: indices.
        groups: what is left out together: prompts, or answering models.
        weight: of each reply in training.
    """

    features: Features
    labels: Int[np.ndarray, " replies"]
    groups: Sequence[str]
    weight: float = 1.0

    def __getitem__(self, rows: Bool[np.ndarray, " replies"] | Int[np.ndarray, " some"]) -> "Labelled":
        chosen = np.arange(len(self.labels))[rows]
        return Labelled(self.features[rows], self.labels[rows], [self.groups[row] for row in chosen], self.weight)


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
        groups: of pairs that are held out together, and resampled together for the intervals.

    Returns:
        the head, trained on all pairs, and each objective's accuracy on pairs whose groups were held out.

    Raises:
        ValueError: an objective with fewer than ten groups.
    """
    mean, deviation = _standard(np.concatenate([chosen, rejected]))
    differences = (chosen - rejected) / deviation
    weights, accuracies = [], {}
    for index, name in enumerate(names):
        own = np.flatnonzero(objective == index)
        of_own = [groups[row] for row in own]
        if len(set(of_own)) < 2 * FOLDS:
            raise ProsocialError(
                f"{name} has {len(set(of_own))} groups; held-out accuracy needs {2 * FOLDS} or more: give more pairs, "
                "as both files of the split"
            )
        won = np.empty(len(own))
        for left, right in GroupKFold(FOLDS).split(own, groups=of_own):
            weight = fit_bradley_terry(differences[own[left]], [of_own[row] for row in left])
            won[right] = differences[own[right]] @ weight
        accuracies[name] = share_over_groups(won > 0, of_own)
        weights.append(fit_bradley_terry(differences[own], of_own))
    return Head(tuple(names), mean, deviation, np.stack(weights, axis=1), np.zeros(len(names))), accuracies


def fit_bradley_terry(differences: Features, groups: Sequence[str]) -> Float[np.ndarray, " features"]:
    """w of P(chosen over rejected) = σ(w · (x_w − x_l)), its ridge penalty chosen by folds of `groups`.

    Args:
        differences: x_w − x_l of each pair, standardised.
        groups: of pairs that are held out together.
    """
    folds = list(GroupKFold(FOLDS).split(differences, groups=groups))

    def likelihood(strength: float) -> float:
        return sum(_pair_likelihood(differences[left], differences[right], strength) for left, right in folds)

    return _pair_weight(differences, max(STRENGTHS, key=likelihood))


def fit_refusal(completions: Labelled, people: Labelled | None = None) -> tuple[Head, dict[str, Any]]:
    """XSTest's three kinds of replies; held out is one answering model at a time.

    Args:
        completions: XSTest's.
        people: replies to people in need, held out in ten folds of people; their figures stand under "people".

    Raises:
        ValueError: fewer than three answering models.
    """
    return _fit_labels(REFUSAL, completions, None if people is None else replace(people, weight=PEOPLE_WEIGHT))


def fit_harm(rows: Labelled, completions: Labelled) -> tuple[Head, dict[str, Any]]:
    """Harmful or safe, on harmful and benign replies and on XSTest's completions of unsafe prompts.

    Held out is one answering model of XSTest at a time, whose human labels say whether it complied in full.

    Args:
        rows: replies by harm or not, HARM's indices.
        completions: to unsafe prompts, labelled by REFUSAL's indices.
    """
    harmful = completions.labels == REFUSAL.index(FULL_COMPLIANCE)
    human = Labelled(completions.features, (~harmful).astype(np.int64), completions.groups)
    return _fit_labels(HARM, human, rows, are_people=False)


def refusals_held_out(completions: Labelled, people: Labelled) -> tuple[Outcome, Float[np.ndarray, "people labels"]]:
    """The probability of each label, by heads that were not fitted to the reply: what `fit_refusal`'s figures are of.

    Returns:
        of XSTest's completions, and of the replies to people in need.
    """
    people = replace(people, weight=PEOPLE_WEIGHT)
    fitting = _fitting(REFUSAL, completions, people)
    # The strength is chosen anew without each model, so that no held-out reply has a say in it.
    return fitting.held_out(completions, people, fitting.best_strength), _of_people(fitting, completions, people)


def _fit_labels(
    names: tuple[str, ...], human: Labelled, others: Labelled | None, *, are_people: bool = True
) -> tuple[Head, dict[str, Any]]:
    fitting = _fitting(names, human, others)
    if others is not None and are_people:
        of_human, of_people = refusals_held_out(human, others)
        figures = _figures(names, of_human, human) | {"people": _figures(names, of_people, others)}
    else:
        figures = _figures(names, fitting.held_out(human, others, fitting.best_strength), human)
    whole = fitting.fitted(human, others, fitting.best_strength(human, others))
    weight, bias = whole.coef_.T, whole.intercept_
    if len(names) == 2:
        # scikit-learn has one logit for two labels, that of the second one.
        weight, bias = np.concatenate([-weight / 2, weight / 2], axis=1), np.concatenate([-bias / 2, bias / 2])
    return Head(names, fitting.mean, fitting.deviation, weight, bias), figures


def _fitting(names: tuple[str, ...], human: Labelled, others: Labelled | None) -> "_Fitting":
    if len(set(human.groups)) < 3:
        raise ProsocialError(
            f"completions by {sorted(set(human.groups))}; three models or more are needed, to hold one out and to "
            "choose the penalty by another"
        )
    together = [human] if others is None else [human, others]
    return _Fitting(*_standard(np.concatenate([one.features for one in together])), len(names))


def _of_people(fitting: "_Fitting", human: Labelled, people: Labelled) -> Outcome:
    """Ten folds of people; the strength is chosen without any of them."""
    strength, outcome = fitting.best_strength(human, None), np.empty((len(people.labels), fitting.count))
    for left, right in GroupKFold(PEOPLE_FOLDS).split(people.features, groups=people.groups):
        outcome[right] = fitting.outcome(human, people[left], strength, people[right])
    return outcome


@dataclass(frozen=True)
class _Fitting:
    """Logistic regressions on standardised features, and what they say of replies that were held out."""

    mean: Float[np.ndarray, " f"]
    deviation: Float[np.ndarray, " f"]
    count: int

    def fitted(self, some: Labelled, others: Labelled | None, strength: float) -> LogisticRegression:
        parts = [some] if others is None else [some, others]
        features = (np.concatenate([part.features for part in parts]) - self.mean) / self.deviation
        labels = np.concatenate([part.labels for part in parts])
        weights = np.concatenate([np.full(len(part.labels), part.weight) for part in parts])
        return LogisticRegression(C=strength, max_iter=2000).fit(features, labels, weights)

    def outcome(self, some: Labelled, others: Labelled | None, strength: float, asked: Labelled) -> Outcome:
        """The probability of each label, by a head that was fitted to other replies."""
        return self.fitted(some, others, strength).predict_proba((asked.features - self.mean) / self.deviation)

    def held_out(
        self, some: Labelled, others: Labelled | None, strength_of: Callable[[Labelled, Labelled | None], float]
    ) -> Outcome:
        """The same of each group in turn."""
        found, groups = np.empty((len(some.labels), self.count)), np.array(some.groups)
        for group in sorted(set(some.groups)):
            left, right = some[groups != group], some[groups == group]
            found[groups == group] = self.outcome(left, others, strength_of(left, others), right)
        return found

    def best_strength(self, some: Labelled, others: Labelled | None) -> float:
        """The one that makes the labels of held-out groups likeliest."""
        likelihoods = {
            one: _log_likelihood(self.held_out(some, others, lambda *_, one=one: one), some.labels) for one in STRENGTHS
        }
        return max(likelihoods, key=lambda one: likelihoods[one])


def _figures(names: tuple[str, ...], outcome: Outcome, human: Labelled) -> dict[str, Any]:
    predicted, groups = outcome.argmax(1), np.array(human.groups)
    right = predicted == human.labels
    shown, said = calibration_curve(right, outcome.max(1), n_bins=10, strategy="quantile")
    models, every = sorted(set(human.groups)), list(range(len(names)))
    recall: Any = recall_score(human.labels, predicted, labels=every, average=None, zero_division=0.0)
    found = {
        "count": len(right),
        "accuracy": proportion(torch.from_numpy(right - 0.5)),
        "recall": dict(zip(names, recall.tolist(), strict=True)),
        "confusion": confusion_matrix(human.labels, predicted, labels=every).tolist(),
        "brier": float(brier_score_loss(right, outcome.max(1))),
        "calibration": {"said": said.tolist(), "right": shown.tolist()},
        # Refused is whatever is not full compliance; harmful is the first label of harm.
        **(
            agreement(human.labels != 0, predicted != 0)
            if names == REFUSAL
            else agreement(human.labels == 0, predicted == 0)
        ),
    }
    if len(models) < FOLDS * 2:
        found["accuracy_by_model"] = {group: float(right[groups == group].mean()) for group in models}
    return found


def agreement(human: Bool[np.ndarray, " replies"], said: Bool[np.ndarray, " replies"]) -> dict[str, Any]:
    """How a judge agrees with people on yes or no: refused or answered, harmful or safe.

    Returns:
        `kappa` (Cohen's), `false_alarms` (how many of people's no it calls yes) and `misses` (how many of people's yes
        it calls no), with Wilson's intervals.
    """
    return {
        "kappa": kappa(human, said),
        "false_alarms": asdict(proportion(torch.from_numpy(said[~human] - 0.5))),
        "misses": asdict(proportion(torch.from_numpy(0.5 - said[human]))),
    }


def share_over_groups(right: Bool[np.ndarray, " rows"], groups: Sequence[str], *, seed: int = 0) -> Estimate:
    """The share that is right, with its interval over resampled groups: pairs of one group are no independent ones."""
    _, group = np.unique(list(groups), return_inverse=True)
    counts, won = np.bincount(group), np.bincount(group, weights=right)
    drawn = np.random.default_rng(seed).integers(0, len(counts), (RESAMPLES, len(counts)))
    shares = won[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(shares, (0.025, 0.975)) if len(counts) > 1 else (0.0, 1.0)
    return Estimate(float(right.mean()), float(low), float(high), len(right))


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
