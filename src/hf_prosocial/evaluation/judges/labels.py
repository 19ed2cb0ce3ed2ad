"""Judges: what a reply is, one label of a few."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from hf_prosocial.evaluation.prompts import Prompt

HARMFUL, SAFE = "harmful", "safe"
HARM: tuple[str, ...] = (HARMFUL, SAFE)
FULL_COMPLIANCE, PARTIAL_REFUSAL, FULL_REFUSAL = "full_compliance", "partial_refusal", "full_refusal"
REFUSAL: tuple[str, ...] = (FULL_COMPLIANCE, PARTIAL_REFUSAL, FULL_REFUSAL)
"""XSTest's three kinds of replies."""


@runtime_checkable
class Judge(Protocol):
    """Gives each reply one of its labels.

    Attributes:
        labels: that it may give.
        validated_on: the human labels that it was compared with and how it did, or None.
    """

    labels: tuple[str, ...]
    validated_on: str | None

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[str | None]:
        """The label of each reply to the prompt beside it; None where the judge gave none of its labels."""
        ...
