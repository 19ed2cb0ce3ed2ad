"""Judges that share nothing with the base: heads on a sentence-embedding model's view of a reply."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_prosocial.assets import MINILM_JUDGES, RELEASED, released_judges

from .embedded import HeadsConfig
from .registry import register_judge


@register_judge("sentences")
@dataclass(frozen=True)
class SentencesConfig(HeadsConfig):
    """The heads on sentence embeddings that the package holds, or another directory of such."""

    kind: Literal["sentences"]

    @property
    def folder(self) -> Path:
        """Where the heads are."""
        return released_judges(MINILM_JUDGES) if self.heads == RELEASED else Path(self.heads)
