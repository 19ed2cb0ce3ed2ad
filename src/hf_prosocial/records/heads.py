"""What stands beside the heads of embedded judges."""

from dataclasses import dataclass
from typing import Any, Literal

from .record import Record
from .sketch import Sketch

HEADS = "heads.json"
"""The file that says it."""


@dataclass(frozen=True)
class HeadsRecord(Record):
    """How heads were trained, and how good they are.

    Attributes:
        names: of each head's values, by what it tells.
        model, dtype, weights: the base whose hidden states they read, and the hash of its weights in that dtype.
        layers: whose hidden states are read, 0 the embeddings.
        validation: figures on what each head was not trained on.
        data: SHA-256 of each file that they were trained on, by its name.
        versions: of the packages.
        features: "hidden_states" of a causal model, or "sentences": embeddings of a sentence model, without layers,
            whose `weights` are the SHA-256 of its file.
        base_sketch: some of the base's weights, to know it again in another dtype.
    """

    names: dict[str, tuple[str, ...]]
    model: str
    dtype: str
    weights: str
    layers: list[int]
    validation: dict[str, Any]
    data: dict[str, str] | None = None
    versions: dict[str, str] | None = None
    features: Literal["hidden_states", "sentences"] = "hidden_states"
    base_sketch: Sketch | None = None
