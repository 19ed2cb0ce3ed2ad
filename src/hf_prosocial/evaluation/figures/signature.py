"""A failure signature: a pattern of figures that says how a method fails."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    """A failure that was found.

    Attributes:
        name: "over-refusal", "attribute collapse", "reward hacking" or "category-specific failure".
        variant, benchmark: where.
        found: what was measured.
        threshold: what it was measured against.
        rows: identities of prompts of the benchmark whose replies show it, no more than a few.
    """

    name: str
    variant: str
    benchmark: str
    found: str
    threshold: str
    rows: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.variant} on {self.benchmark}: {self.found} (threshold: {self.threshold})"


class FailureSignatureWarning(UserWarning):
    """A failure signature was found; its text names the variant, the benchmark and the figures."""


def warn_of(signatures: Sequence[Signature]) -> None:
    """Each as a `FailureSignatureWarning`."""
    for signature in signatures:
        warnings.warn(str(signature), FailureSignatureWarning, stacklevel=2)
