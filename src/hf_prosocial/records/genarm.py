"""What a GenARM says of itself."""

from dataclasses import dataclass
from typing import Any

from .record import Record

GENARM = "genarm.json"
"""The file that says it, beside a folder for each objective's adapter."""
LOG = "log.json"
"""In each of these folders, the log of its training."""


@dataclass
class GenArmRecord(Record):
    """The objectives, and what is known of the base. Attributes are those of a PV-ARM's configuration."""

    objectives: tuple[str, ...]
    base_model_name_or_path: str | None = None
    base_weight_hashes: dict[str, str] | None = None
    tokenizer_hash: str | None = None
    chat_template: str | None = None
    base_sketch: dict[str, Any] | None = None


@dataclass(frozen=True)
class ObjectiveLog(Record):
    """What one objective's training logged."""

    log: list[dict[str, Any]]
