"""Preferences: weights over named objectives, on the simplex (METHOD: p_i >= 0, sum p_i = 1)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hf_prosocial.errors import ProsocialError

OBJECTIVES: tuple[str, ...] = ("empathy", "sensitivity", "non_judgmental", "truthfulness", "helpfulness")
"""The five objectives of ProSocialAlign, in the paper's order."""

_SUM_TOLERANCE = 1e-6


class Preference(Mapping[str, float]):
    """How much each objective matters: weights on the simplex, over named objectives.

    >>> Preference(empathy=0.5, helpfulness=0.5)
    Preference(empathy=0.5, helpfulness=0.5)
    >>> Preference(empathy=2, helpfulness=6, normalize=True)["helpfulness"]
    0.75

    Objectives that are not named weigh 0. A preference is an immutable mapping over all its objectives, in their
    order; `tensor` gives it to torch.

    Args:
        normalize: rescale the weights to sum to 1, on purpose. Without it a sum other than 1 is an error.
        objectives: the names that may be weighed, in the model's order; the five of ProSocialAlign by default.
        weights: a number >= 0 per objective. An objective that is called `normalize` or `objectives`, or is not a
            Python name, goes through `from_dict`.

    Raises:
        ValueError: an unknown name, a weight that is negative or not finite, or a sum other than 1 (to 1e-6). The
            message names the objective and the value found.
        TypeError: a weight that is not a number.
    """

    __slots__ = ("_weights",)

    def __init__(self, *, normalize: bool = False, objectives: Sequence[str] | None = None, **weights: float) -> None:
        self._weights = _checked_weights(weights, _checked_objectives(objectives), normalize)

    @classmethod
    def from_dict(
        cls, weights: Mapping[str, float], *, normalize: bool = False, objectives: Sequence[str] | None = None
    ) -> "Preference":
        """A preference from a mapping, for objectives of any name.

        Raises:
            ValueError, TypeError: as the constructor.
        """
        preference = cls.__new__(cls)
        preference._weights = _checked_weights(dict(weights), _checked_objectives(objectives), normalize)
        return preference

    @classmethod
    def parse(cls, text: str, *, normalize: bool = False, objectives: Sequence[str] | None = None) -> "Preference":
        """Read `"empathy=0.5,helpfulness=0.5"`, as the command line takes it.

        Raises:
            ValueError: a part that is not `name=number`, a name given twice, or weights off the simplex.
        """
        weights: dict[str, float] = {}
        for part in text.split(","):
            name, equals, number = (piece.strip() for piece in part.partition("="))
            if not equals or not name:
                raise ProsocialError(f"expected name=weight, found {part.strip()!r} in {text!r}")
            if name in weights:
                raise ProsocialError(f"objective {name!r} is given twice in {text!r}")
            try:
                weights[name] = float(number)
            except ValueError:
                raise ProsocialError(
                    f"the weight of objective {name!r} is not a number: {number!r} in {text!r}"
                ) from None
        return cls.from_dict(weights, normalize=normalize, objectives=objectives)

    @classmethod
    def one_hot(cls, objective: str, *, objectives: Sequence[str] | None = None) -> "Preference":
        """All weight on one objective: a corner of the simplex."""
        return cls.from_dict({objective: 1.0}, objectives=objectives)

    @classmethod
    def uniform(cls, *, objectives: Sequence[str] | None = None) -> "Preference":
        """The same weight on every objective: the centre of the simplex."""
        names = _checked_objectives(objectives)
        return cls.from_dict(dict.fromkeys(names, 1.0), normalize=True, objectives=names)

    @classmethod
    def sample(
        cls,
        concentration: float = 0.5,
        *,
        objectives: Sequence[str] | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> "Preference":
        """Draw from a symmetric Dirichlet; below 1 it favours the corners ([PARM] takes 0.5).

        Raises:
            ValueError: a concentration that is not above 0 and finite.
        """
        names = _checked_objectives(objectives)
        if not (math.isfinite(concentration) and concentration > 0):
            raise ProsocialError(f"concentration must be above 0 and finite, found {concentration}")
        draw = np.random.default_rng(seed).dirichlet([concentration] * len(names))
        return cls.from_dict(dict(zip(names, draw.tolist(), strict=True)), normalize=True, objectives=names)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names that this preference weighs, zero weights included."""
        return tuple(self._weights)

    def tensor(
        self,
        *,
        objectives: Sequence[str] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, " k"]:
        """The weights as a plain tensor of shape (k,), in the order of `objectives` (this preference's by default).

        Raises:
            ValueError: this preference puts weight on an objective that is not among `objectives`.
        """
        names = self.objectives if objectives is None else _checked_objectives(objectives)
        missing = {name: weight for name, weight in self._weights.items() if weight > 0 and name not in names}
        if missing:
            raise ProsocialError(
                f"the preference weighs {missing}, but the model has only the objectives {list(names)}; "
                "build the preference over the model's objectives: Preference.from_dict(..., objectives=...)"
            )
        return torch.tensor([self._weights.get(name, 0.0) for name in names], dtype=dtype, device=device)

    def __getitem__(self, objective: str) -> float:
        return self._weights[objective]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __hash__(self) -> int:
        return hash(tuple(self._weights.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Preference) and tuple(self._weights.items()) == tuple(other._weights.items())

    def __str__(self) -> str:
        return ",".join(f"{name}={weight:g}" for name, weight in self._weights.items() if weight > 0)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={weight:g}" for name, weight in self._weights.items() if weight > 0)
        over = "" if self.objectives == OBJECTIVES else f", objectives={self.objectives}"
        return f"Preference({given}{over})"


Preferences = Preference | Mapping[str, float] | Sequence[Preference] | Tensor
"""One preference for all rows, or one per row; or plain weights of shape (k,) or (rows, k).

A plain mapping of weights is read over the objectives of the model that it is given to, whatever these are called.
"""


def weights_of(preference: Preferences, objectives: tuple[str, ...]) -> Float[Tensor, "*rows k"]:
    """The weights p in the order of `objectives`, fp32, on the CPU unless given as a tensor elsewhere.

    Raises:
        ValueError: an objective that is not among them, or weights of a wrong shape or off the simplex.
    """
    if isinstance(preference, Preference):
        return preference.tensor(objectives=objectives)
    if isinstance(preference, Mapping):
        return Preference.from_dict(preference, objectives=objectives).tensor()
    if not isinstance(preference, Tensor):
        if not preference:
            raise ProsocialError("expected one preference or more, found an empty sequence")
        if isinstance(preference, str) or not all(isinstance(one, Preference) for one in preference):
            raise ProsocialError(
                f"expected a Preference, several, or their weights as a tensor, found {preference!r:.80}; "
                "Preference(empathy=0.5, helpfulness=0.5) makes one, Preference.parse one of a text"
            )
        return torch.stack([one.tensor(objectives=objectives) for one in preference])
    k, weights = len(objectives), preference.float()
    if weights.ndim not in (1, 2) or weights.shape[-1] != k:
        raise ProsocialError(f"expected weights of shape ({k},) or (rows, {k}), found {tuple(weights.shape)}")
    if not ((weights >= 0).all() and ((weights.sum(-1) - 1).abs() <= 1e-3).all()):
        raise ProsocialError(f"weights must be >= 0 and each row must sum to 1, found {weights.tolist()}")
    return weights


def _checked_objectives(objectives: Sequence[str] | None) -> tuple[str, ...]:
    if objectives is None:
        return OBJECTIVES
    if isinstance(objectives, str):
        raise TypeError(f"objectives must be a sequence of names, found the string {objectives!r}")
    names = tuple(objectives)
    if not names or any(not isinstance(name, str) or not name for name in names):
        raise ProsocialError(f"objectives must be one name or more, none of them empty, found {names}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ProsocialError(f"objectives must differ, found {repeated} more than once in {names}")
    return names


def _checked_weights(weights: dict[str, float], objectives: tuple[str, ...], normalize: bool) -> dict[str, float]:
    for name, weight in weights.items():
        if name not in objectives:
            raise ProsocialError(
                f"unknown objective {name!r} (weight {weight!r}); the objectives are {list(objectives)}"
            )
        if isinstance(weight, bool) or not isinstance(weight, Real):
            raise TypeError(f"the weight of objective {name!r} must be a number, found {weight!r}")
        if not math.isfinite(weight) or weight < 0:
            raise ProsocialError(f"the weight of objective {name!r} must be finite and >= 0, found {weight}")
    total = math.fsum(float(weight) for weight in weights.values())
    found = ", ".join(f"{name}={float(weight):g}" for name, weight in weights.items()) or "no weight at all"
    if total == 0:
        raise ProsocialError(f"at least one objective must weigh more than 0, found {found}")
    if not normalize and abs(total - 1) > _SUM_TOLERANCE:
        raise ProsocialError(f"weights must sum to 1, found {total:g} ({found}); pass normalize=True to rescale them")
    divisor = total if normalize else 1.0  # What is given as a simplex is kept to the last bit.
    return {name: float(weights.get(name, 0.0)) / divisor for name in objectives}
