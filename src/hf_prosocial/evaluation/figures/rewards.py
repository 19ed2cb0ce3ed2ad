"""What replies under many preferences are worth, in z-scores of the reference's own replies."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation.answers import Answers
from hf_prosocial.evaluation.bootstrap import bootstrap_mean
from hf_prosocial.evaluation.multi_objective import control, control_matrix, hypervolume, mean_inner_product, z_scores
from hf_prosocial.io import listed
from hf_prosocial.preference import Preference

from .shares import LEAST_JUDGED

logger = logging.getLogger(__name__)

Z = Float[np.ndarray, "prompts preferences k"]


def with_rewards_alone(answers: Sequence[Answers]) -> list[Answers] | None:
    """Every variant's answers to the prompts whose replies all have rewards, so that all are compared on the same ones.

    None where too few prompts are left (`LEAST_JUDGED`): an average over the others would be another figure.

    Raises:
        ValueError: the replies were not scored, or not one prompt is left.
    """
    numbers = [np.isfinite(_scored(one)).all(axis=(1, 2)) for one in answers]
    whole = np.logical_and.reduce(numbers)
    if whole.all():
        return list(answers)
    first, own = next((one, own) for one, own in zip(answers, numbers, strict=True) if not own.all())
    where = listed([f"{first.benchmark}:{first.prompts[row].identity}" for row in np.flatnonzero(~own)])
    said = f"replies to {(~whole).sum()} of {len(whole)} prompts of {first.benchmark} have no reward"
    if not whole.any():
        raise ProsocialError(f"{said}, among them {first.variant}'s to {where}; see what the scorer answers")
    if whole.sum() < max(2, LEAST_JUDGED * len(whole)):
        logger.warning("%s, so that no figure of rewards is told; among them %s's to %s", said, first.variant, where)
        return None
    logger.warning("%s, and are in no figure of rewards; among them %s's to %s", said, first.variant, where)
    return [one.to_prompts(np.flatnonzero(whole)) for one in answers]


def _scored(answers: Answers) -> Float[np.ndarray, "prompts preferences k"]:
    if answers.rewards is None:
        raise ProsocialError("the replies were not scored")
    return answers.rewards


def z_rewards(answers: Answers, reference: Answers, preferences: Sequence[Preference]) -> Z:
    """Rewards under each preference; a variant that heeds none has the same under all.

    An objective in which all replies of the reference have one reward has no z-scores: NaN (see `unvarying`).

    Raises:
        ValueError: the replies have no rewards, or those of the reference are not finite.
    """
    rewards, base = _scored(answers), _scored(reference)[:, 0]
    varies = ~_all_alike(base)
    z = np.full(rewards.shape, np.nan)
    if varies.any():
        z[..., varies] = z_scores(rewards[..., varies], base[:, varies])
    return np.repeat(z, len(preferences), axis=1) if z.shape[1] == 1 else z


def unvarying(reference: Answers, objectives: Sequence[str]) -> dict[str, str]:
    """The objectives in which all replies of the reference have one reward, and which."""
    base = _scored(reference)[:, 0]
    flat = zip(objectives, _all_alike(base), base[0], strict=True)
    return {name: f"all {len(base)} replies of the reference have {value:g}" for name, alike, value in flat if alike}


def _all_alike(base: Float[np.ndarray, "prompts k"]) -> Bool[np.ndarray, " k"]:
    return (base == base[0]).all(axis=0)


NOT_MEASURABLE = "not measurable with this judge"


def over_measurable(
    preferences: Sequence[Preference], objectives: Sequence[str], measurable: Sequence[str]
) -> tuple[list[int], list[int], Float[np.ndarray, "rows columns"]]:
    """What is left where some objectives cannot be told.

    Returns:
        columns: of the measurable objectives.
        rows: of the preferences that weigh at least one of them.
        weights: of those preferences on those objectives, each row's sum made 1 again.
    """
    columns = [list(objectives).index(name) for name in measurable]
    weights = weights_of_all(preferences)[:, columns]
    rows = [row for row, own in enumerate(weights) if own.sum() > 0]
    return columns, rows, weights[rows] / weights[rows].sum(1, keepdims=True)


def reward_figures(
    z: Z, preferences: Sequence[Preference], objectives: Sequence[str], measurable: Sequence[str]
) -> dict[str, Any]:
    """MIP, hypervolume, the mean of each objective under each preference; control where all one-hot ones are there.

    Args:
        z: from `z_rewards`.
        preferences: in the order of z's second axis.
        objectives: in the order of its third; the scorer's names, which the preferences weigh.
        measurable: those of them that the judge can tell. The others are in no figure: MIP and hypervolume are over the
            preferences that weigh at least one of these, by their weights on these.
    """
    columns, rows, weights = over_measurable(preferences, objectives, measurable)
    chosen = z[:, rows][:, :, columns]
    found: dict[str, Any] = {
        "mip": mean_inner_product(chosen, weights) if rows else NOT_MEASURABLE,
        "hypervolume": hypervolume(chosen) if len(columns) > 1 else NOT_MEASURABLE,
        "means": {str(one): z[:, row].mean(0).tolist() for row, one in enumerate(preferences)},
    }
    corners = corner_rows(preferences, objectives)
    if corners is not None:
        found["control_matrix"] = control_matrix(z[:, corners]).tolist()
        told = dict(zip(objectives, control(z[:, corners]), strict=True))
        found["control"] = {name: one if name in measurable else NOT_MEASURABLE for name, one in told.items()}
    uniform = Preference.uniform(objectives=objectives)
    if uniform in preferences:
        balanced = z[:, list(preferences).index(uniform)]
        found["uniform"] = {
            name: bootstrap_mean(balanced[:, column]) for name, column in zip(measurable, columns, strict=True)
        }
    return found


def corner_rows(preferences: Sequence[Preference], objectives: Sequence[str]) -> list[int] | None:
    """Where the one-hot preferences are, in the order of the objectives; None unless all of them are."""
    corners = [Preference.one_hot(name, objectives=objectives) for name in objectives]
    if not set(corners) <= set(preferences):
        return None
    return [list(preferences).index(corner) for corner in corners]


def weights_of_all(preferences: Sequence[Preference]) -> Float[np.ndarray, "preferences k"]:
    """The preferences' weights, a row each."""
    return np.array([list(preference.values()) for preference in preferences])
