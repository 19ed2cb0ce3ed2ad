"""Which kinds of judges there are."""

from . import arm_scorer, asked, classifier, embedded, local, sentences, vote, words  # noqa: F401  They register themselves.
from .registry import parse_judge

__all__ = ["parse_judge"]
