"""Judges that share nothing with the base: heads on a sentence-embedding model's view of a reply."""

from dataclasses import dataclass
from typing import Literal

from hf_prosocial.assets import MINILM_JUDGES

from .embedded import HeadsConfig
from .registry import register_judge


@register_judge("sentences")
@dataclass(frozen=True)
class SentencesConfig(HeadsConfig):
    """The heads on sentence embeddings that the package holds, or another directory of such."""

    kind: Literal["sentences"]
    released = MINILM_JUDGES
