"""Kinds of judges by name, so that a recipe names one and a user adds one in a file of their own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float
from pydantic import ConfigDict, TypeAdapter, ValidationError

from hf_prosocial.data import Prompt
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import faults_of, listed

from .labels import HARM, REFUSAL

Role = Literal["rewards", "harm", "refusal"]
"""What a judge is asked for: k numbers for each reply, or one of the labels `HARM` or `REFUSAL`."""

MEASURABLE = 0.60
"""A reward is a figure if its judge's accuracy on held-out groups lies above it, by the interval's lower end."""

Kind = TypeVar("Kind", bound="JudgeConfig")


@runtime_checkable
class Judge(Protocol):
    """Gives each reply one of its labels.

    Attributes:
        labels: that it may give.
    """

    labels: tuple[str, ...]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[str | None]:
        """The label of each reply to the prompt beside it; None where the judge gave none of its labels."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Gives each reply k rewards.

    Attributes:
        names: of the rewards, in order.
    """

    names: tuple[str, ...]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Float[np.ndarray, "replies k"]:
        """The rewards of each reply to the prompt beside it; NaN where there is none."""
        ...


@dataclass(frozen=True)
class JudgeContext:
    """What a judge may need of the evaluation that opens it.

    Attributes:
        base: the evaluation's base, as `find_base` takes it.
        dtype: of the base.
        objectives: what rewards are asked for.
        folder: where answers may be kept.
    """

    base: str | None
    dtype: str
    objectives: tuple[str, ...]
    folder: Path
    _made: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: object, make: Callable[[], Any]) -> Any:
        """What several judges share, such as a model that is loaded: made when it is first asked for."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


@dataclass(frozen=True)
class JudgeConfig(ABC):
    """A kind of judge: what a recipe says of it, and how it is opened. Subclasses are frozen dataclasses.

    Attributes:
        kind: the name that it is registered by.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", protected_namespaces=())
    kind: str

    @abstractmethod
    def open(self, role: Role, context: JudgeContext) -> Judge | Scorer:
        """A `Scorer` for "rewards", else a `Judge`.

        Raises:
            ValueError: this kind of judge cannot tell what is asked for.
        """

    def check(self, role: Role, context: JudgeContext) -> None:  # noqa: B027  A kind may have nothing to check.
        """Refuse, before a model is loaded and replies are made, what `open` or a first question would refuse.

        Raises:
            ProsocialError, OSError: a role that this kind has nothing for, objectives without rewards, no such file.
        """

    def identity(self) -> dict[str, Any]:
        """All that its scores follow from beside the replies, as JSON has it; known without loading a model."""
        return asdict(self)

    def described(self, role: Role) -> str:
        """Who it is and how good, in a line for the report."""
        return f"{self.kind}, not validated here"

    def not_measurable(self, names: Sequence[str]) -> dict[str, str]:
        """Of these rewards, those that this judge is known to be no better than chance at, and how good it is.

        A judge that was never compared with anything is not known to be bad, and its rewards stay.
        """
        return {}

    def validation(self, role: Role) -> str | None:
        """The human labels that it was compared with and how it did; None where it was not."""
        return None


def check_rewards(judge: JudgeConfig, names: Sequence[str], objectives: Sequence[str]) -> None:
    """Refuse a judge that has no reward for an objective.

    Raises:
        ProsocialError: which ones.
    """
    missing = [name for name in objectives if name not in names]
    if missing:
        raise ProsocialError(
            f"the scorer ({judge.kind}) has the rewards {list(names)}, and none for {missing}; choose one that has, as "
            "{kind: endpoint, ..., meanings: {" + f"{missing[0]}: what a good reply does" + "}}"
        )


def checked_labels(role: Role, labels: Any, count: int) -> list[str | None]:
    """What a judge said, if it is what a judge of the role may say.

    Raises:
        ProsocialError: another number of labels than there are replies, or labels that are none of the role's.
    """
    known = {"harm": HARM, "refusal": REFUSAL}[role]
    if not isinstance(labels, list) or len(labels) != count:
        found = len(labels) if isinstance(labels, list) else type(labels).__name__
        raise ProsocialError(f"the judge of {role} gave {found} labels for {count} replies")
    unknown = sorted({repr(one) for one in labels if not (one is None or (isinstance(one, str) and one in known))})
    if unknown:
        raise ProsocialError(f"the judge of {role} gave the labels {listed(unknown)}; known are {', '.join(known)}")
    return labels


def checked_rewards(rewards: Any, count: int, k: int) -> Float[np.ndarray, "replies k"]:
    """What a scorer gave, fp64, if it is k numbers for each reply; NaN is one.

    Raises:
        ProsocialError: another shape, or no numbers.
    """
    try:
        found = np.asarray(rewards, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ProsocialError(f"the scorer gave no numbers ({error})") from error
    if found.shape != (count, k) and (count, found.size) != (0, 0):
        raise ProsocialError(f"the scorer gave rewards of shape {found.shape}; {(count, k)} is needed, a row a reply")
    return found.reshape(count, k)


_KINDS: dict[str, type[JudgeConfig]] = {}


def register_judge(name: str) -> Callable[[type[Kind]], type[Kind]]:
    """Make a kind of judge known by a name, which a recipe gives as `kind`. A decorator of a `JudgeConfig`.

    Raises:
        ValueError: another class has the name.
    """

    def register(kind: type[Kind]) -> type[Kind]:
        if not (isinstance(kind, type) and issubclass(kind, JudgeConfig) and is_dataclass(kind)):
            raise ProsocialError(f"the kind of judge {name!r} must be a dataclass that inherits from JudgeConfig")
        known = _KINDS.get(name)
        # A file of judges may be read twice in one process; that is the same class under the same name.
        if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
            raise ProsocialError(f"the kind of judge {name!r} is {known.__qualname__} already; choose another name")
        _KINDS[name] = kind
        return kind

    return register


def known_judges() -> dict[str, type[JudgeConfig]]:
    """Every kind that is registered, by name."""
    return dict(_KINDS)


def parse_judge(content: Any) -> JudgeConfig:
    """A recipe's mapping with its `kind`, as that kind's configuration.

    Raises:
        ValueError: no mapping, an unknown kind, a key that nothing reads, or a value that cannot be.
    """
    if isinstance(content, JudgeConfig):
        return content
    if not isinstance(content, Mapping) or "kind" not in content:
        raise ProsocialError(f"a judge is given as a mapping with its kind, found {content!r}")
    known = known_judges()
    if not isinstance(content["kind"], str) or content["kind"] not in known:
        raise ProsocialError(f"no kind of judge is called {content['kind']!r}; there are {', '.join(sorted(known))}")
    try:
        return TypeAdapter(known[content["kind"]]).validate_python(content)
    except ValidationError as error:
        raise ProsocialError(faults_of(error)) from error
