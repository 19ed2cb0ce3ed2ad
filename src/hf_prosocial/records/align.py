"""What `prosocial align` has done in a folder."""

from dataclasses import dataclass, field
from typing import Any

from .record import Record

ALIGN = "align.json"
"""The record's file in the folder."""


@dataclass(frozen=True)
class StageRecord:
    """A stage: begun or done.

    Attributes:
        key: SHA-256 of its settings and of the keys of the stages that it follows.
        done: whether it ended.
        seconds: that it took; None while it runs.
        outputs: paths in the folder that are its own.
        files: what it wrote, by path in the folder, with hashes.
        said: what it found, in a sentence.
        settings: what it followed from beside other stages, as text.
    """

    key: str
    done: bool
    seconds: float | None = None
    outputs: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    said: str = ""
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AlignRecord(Record):
    """What stands in align.json.

    Attributes:
        base: as it was named.
        settings: the recipe's, and what was found out about base and machine.
        stages: by name, in order.
        made: paths in the folder, by what they are (safe base, vector, gated vector, arm, report, cards): of the
            stages that are done with the settings of the last run, and of no others.
        versions: of the packages.
    """

    base: str
    settings: dict[str, Any]
    stages: dict[str, StageRecord] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
