"""Kinds of figures by name, so that a recipe names one and a user adds one in a file of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation.answers import Answers
from hf_prosocial.judges import Role
from hf_prosocial.preference import Preference

from .differences import VariantDifference
from .signature import Signature

Figures = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """What a kind of figures is measured on: one benchmark's labelled answers.

    Attributes:
        benchmark: its name.
        answers: of each variant, the reference's first.
        preferences: that each prompt was answered under.
        objectives: of the preferences and of the rewards.
        harm_validated: whether the judge of harm names the labels that it was validated on.
        not_measurable: objectives whose rewards the judge cannot tell, and how good it is at them.
    """

    benchmark: str
    answers: Sequence[Answers]
    preferences: Sequence[Preference]
    objectives: Sequence[str]
    harm_validated: bool
    not_measurable: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> Answers:
        """The answers that the others are compared with."""
        return self.answers[0]


@dataclass
class Measured:
    """What was found on one benchmark.

    Attributes:
        figures: by variant.
        differences: of every two variants.
        signatures: the failures.
    """

    figures: dict[str, Figures] = field(default_factory=dict)
    differences: list[VariantDifference] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)


@dataclass(frozen=True)
class FigureKind:
    """A kind of figures.

    Attributes:
        asks: which judges must have labelled the answers.
        measure: the figures.
    """

    asks: tuple[Role, ...]
    measure: Callable[[Given], Measured]


_KINDS: dict[str, FigureKind] = {}


def register_figures(
    name: str, *, asks: tuple[Role, ...]
) -> Callable[[Callable[[Given], Measured]], Callable[[Given], Measured]]:
    """Make a kind of figures known by a name, which a recipe gives as a benchmark's `measures`. A decorator.

    Raises:
        ValueError: another function has the name.
    """

    def register(measure: Callable[[Given], Measured]) -> Callable[[Given], Measured]:
        known = _KINDS.get(name)
        if known is not None and _name(known.measure) != _name(measure):
            raise ProsocialError(f"figures are called {name!r} already ({_name(known.measure)}); choose another name")
        _KINDS[name] = FigureKind(asks, measure)
        return measure

    return register


def registered() -> dict[str, FigureKind]:
    """Every kind that is registered, by name."""
    return dict(_KINDS)


def _name(measure: Callable[[Given], Measured]) -> str:
    """A file of figures may be read twice in one process; that is the same function under the same name."""
    return f"{measure.__module__}.{getattr(measure, '__qualname__', measure)}"
