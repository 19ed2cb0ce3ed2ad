"""A failure signature: a pattern of figures that says how a method fails."""

import warnings
from collections.abc import Sequence

from hf_prosocial.records import SignatureFigure


class Signature(SignatureFigure):
    """A failure that was found, as its record has it, with a line that says it."""

    def __str__(self) -> str:
        return f"{self.name}: {self.variant} on {self.benchmark}: {self.found} (threshold: {self.threshold})"


class FailureSignatureWarning(UserWarning):
    """A failure signature was found; its text names the variant, the benchmark and the figures."""


def warn_of(signatures: Sequence[Signature]) -> None:
    """Each as a `FailureSignatureWarning`."""
    for signature in signatures:
        warnings.warn(str(signature), FailureSignatureWarning, stacklevel=2)
