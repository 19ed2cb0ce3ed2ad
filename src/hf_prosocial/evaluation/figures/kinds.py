"""Which kinds of figures there are."""

from . import harm, over_refusal, reward_kind  # noqa: F401  They register themselves.
from .registry import FigureKind, registered


def known_figures() -> dict[str, FigureKind]:
    """The package's own kinds and those that plug-ins registered, by name."""
    return registered()
