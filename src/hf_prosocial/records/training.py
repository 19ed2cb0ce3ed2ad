"""What a training leaves beside its adapters: all that they follow from, and their log."""

from dataclasses import dataclass
from typing import Any

from .margins import MarginSummary
from .record import Record

TRAINING = "training.json"
"""The file that says it."""


@dataclass(frozen=True)
class BaseUsed:
    """The base that was trained on.

    Attributes:
        source: where it was found, as a sentence.
        weight_hashes: SHA-256 of its weights in each dtype, by the dtype's name.
    """

    source: str
    weight_hashes: dict[str, str] | None


@dataclass(frozen=True)
class PairsUsed:
    """The pairs that were trained on.

    Attributes:
        used: how many of each objective.
        malformed: why a row was left out, by its line.
    """

    used: dict[str, int]
    malformed: dict[str, str]


@dataclass(frozen=True)
class TrainingRecord(Record):
    """What stands in training.json.

    Attributes:
        command: that trained it; None for a training from Python.
        recipe: the data, the base and the adapter's shape, by the recipe's names.
        training: the training arguments that differ from their defaults, and the seed.
        base: the base.
        data: SHA-256 of each file of pairs, by its path; empty where the pairs came from memory.
        pairs: the pairs.
        versions: of the packages.
        log: what was logged; of a GenARM, by objective.
        dev: the figures on held-out pairs, where there were any.
    """

    command: list[str] | None
    recipe: dict[str, Any]
    training: dict[str, Any]
    base: BaseUsed
    data: dict[str, str]
    pairs: PairsUsed
    versions: dict[str, str]
    log: Any
    dev: MarginSummary | None = None
