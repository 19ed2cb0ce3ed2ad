"""What replies under many preferences are worth, in z-scores of the reference's own replies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation.answers import Answers
from hf_prosocial.evaluation.bootstrap import bootstrap_mean
from hf_prosocial.evaluation.multi_objective import control, control_matrix, hypervolume, mean_inner_product, z_scores
from hf_prosocial.preference import Preference

Z = Float[np.ndarray, "prompts preferences k"]


def z_rewards(answers: Answers, reference: Answers, preferences: Sequence[Preference]) -> Z:
    """Rewards under each preference; a variant that heeds none has the same under all.

    Raises:
        ValueError: the replies have no rewards, or those of the reference do not vary.
    """
    if answers.rewards is None or reference.rewards is None:
        raise ProsocialError("the replies were not scored")
    z = z_scores(answers.rewards, reference.rewards[:, 0])
    return np.repeat(z, len(preferences), axis=1) if z.shape[1] == 1 else z


def reward_figures(z: Z, preferences: Sequence[Preference], objectives: Sequence[str]) -> dict[str, Any]:
    """MIP, hypervolume, the mean of each objective under each preference; control where all one-hot ones are there.

    Args:
        z: from `z_rewards`.
        preferences: in the order of z's second axis.
        objectives: in the order of its third; the scorer's names, which the preferences weigh.
    """
    found: dict[str, Any] = {
        "mip": mean_inner_product(z, weights_of_all(preferences)),
        "hypervolume": hypervolume(z),
        "means": {str(one): z[:, row].mean(0).tolist() for row, one in enumerate(preferences)},
    }
    corners = corner_rows(preferences, objectives)
    if corners is not None:
        found["control_matrix"] = control_matrix(z[:, corners]).tolist()
        found["control"] = dict(zip(objectives, control(z[:, corners]), strict=True))
    uniform = Preference.uniform(objectives=objectives)
    if uniform in preferences:
        balanced = z[:, list(preferences).index(uniform)]
        found["uniform"] = {name: bootstrap_mean(balanced[:, column]) for column, name in enumerate(objectives)}
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
