"""What a gated harm vector says of itself."""

from dataclasses import dataclass, field
from typing import Any

from .interval import Interval
from .record import Number, Record

GATED_NAME = "gated_harm_vector.safetensors"
"""A gated vector's file in a directory; its record stands in the file's metadata."""


@dataclass
class GatedVectorRecord(Record):
    """How a gated vector was made, which base it belongs to, and how well its gate tells harm.

    Attributes:
        scale: λ where the gate is fully open.
        contrast: c of τ = τ_h − c · τ_b.
        r: rank of the factors.
        kept: share of the contrast's squared norm that the factors hold; 1 where nothing was cut off.
        layers: whose hidden states the gate reads of a prompt's last token.
        threshold, full: log-odds from which on it begins to open, and is fully open.
        turns: the tokens around what a user says, by which it is found in a conversation.
        prompts: SHA-256 of each file of prompts that the gate was trained on, by its name.
        counts: how many prompts of each kind.
        figures: the gate's, on prompts that it was not trained on, by name.
        versions: of the packages.
        mean_layers: whose mean the gate reads, over the tokens of what is said.
    """

    scale: float
    contrast: float
    r: int
    kept: float
    layers: tuple[int, ...]
    threshold: float
    full: float
    turns: dict[str, tuple[int, ...]]
    prompts: dict[str, str]
    counts: dict[str, int]
    figures: dict[str, Interval | Number]
    versions: dict[str, str]
    mean_layers: tuple[int, ...] = ()
    base_model_name_or_path: str | None = None
    base_weight_hashes: dict[str, str] | None = None
    tokenizer_hash: str | None = None
    chat_template: str | None = None
    base_sketch: dict[str, Any] | None = field(default=None)
