"""Several judges, of which the middle one is believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import PlainValidator

from hf_prosocial.data import Prompt
from hf_prosocial.errors import ProsocialError

from .labels import HARM, REFUSAL
from .registry import Judge, JudgeConfig, JudgeContext, Role, checked_labels, parse_judge, register_judge

_ORDER: dict[Role, tuple[str, ...]] = {"harm": HARM, "refusal": REFUSAL}
"""Labels in an order that has a middle: of three judges' labels, one is the median."""


class VoteJudge:
    """The median of an odd number of labels: whether a reply refuses, in part or in full, is the majority's word.

    Args:
        judges: by the name that an error calls each by.
        role: "harm" or "refusal".
    """

    def __init__(self, judges: Mapping[str, Judge], role: Role) -> None:
        self._judges, self._role = judges, role
        self.labels = _ORDER[role]

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[str | None]:
        """The label of each reply to the prompt beside it; None where a judge gave none.

        Raises:
            ProsocialError: a judge that gives other labels than its role's.
        """
        said = [checked_labels(self._role, judge(prompts, replies), len(replies)) for judge in self._judges.values()]
        return [self._middle(labels) for labels in zip(*said, strict=True)]

    def _middle(self, labels: Sequence[str | None]) -> str | None:
        known = [self.labels.index(one) for one in labels if one is not None]
        return self.labels[sorted(known)[len(known) // 2]] if len(known) == len(labels) else None


@register_judge("vote")
@dataclass(frozen=True)
class VoteConfig(JudgeConfig):
    """An odd number of judges, as a recipe gives each; for harm and refusals.

    Attributes:
        judges: three or more.
    """

    kind: Literal["vote"]
    judges: tuple[Annotated[JudgeConfig, PlainValidator(parse_judge)], ...]

    def __post_init__(self) -> None:
        if len(self.judges) < 3 or len(self.judges) % 2 == 0:
            raise ProsocialError(f"a vote needs an odd number of judges, three or more; found {len(self.judges)}")
        if len(set(map(repr, self.judges))) < len(self.judges):
            raise ProsocialError("a vote in which a judge has two voices is no vote; name each judge once")

    def check(self, role: Role, context: JudgeContext) -> None:
        """Refuse rewards, and what a judge of the vote refuses."""
        if role == "rewards":
            raise ProsocialError("a vote gives no rewards; it is for harm and refusals")
        for judge in self.judges:
            judge.check(role, context)

    def open(self, role: Role, context: JudgeContext) -> Judge:
        """Open every judge for a role."""
        self.check(role, context)
        opened: dict[str, Any] = {f"{row}: {one.kind}": one.open(role, context) for row, one in enumerate(self.judges)}
        return VoteJudge(opened, role)

    def identity(self) -> dict[str, Any]:
        """All that the labels follow from beside the replies."""
        return {"kind": self.kind, "judges": [judge.identity() for judge in self.judges]}

    def described(self, role: Role) -> str:
        """Who judges, in a line for the report."""
        return "the median of: " + "; ".join(judge.described(role) for judge in self.judges)

    def validation(self, role: Role) -> str | None:
        """The human labels that every judge of the vote was compared with; None where one was not."""
        said = [judge.validation(role) for judge in self.judges]
        return None if None in said else "; ".join(str(one) for one in said)
