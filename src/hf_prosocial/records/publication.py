"""prosocial.json: what a directory says of itself. One record for each kind of directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError

from .choice import ChoiceRecord
from .margins import MarginSummary
from .record import FORMAT, Record, read_json
from .training import BaseUsed, PairsUsed
from .vector import VectorRecord

RECORD_NAME = "prosocial.json"
"""The file in which a directory says what it is."""
VECTOR_NAME = "harm_vector.safetensors"
"""A vector's file in a directory."""

SUBTRACTED = "HarmVector.subtract"
"""Who made a checkpoint that a vector was subtracted from."""
ADDED = "HarmVector.add"
"""Who made a checkpoint that a vector was added to."""
EXTRACTED = "HarmVector.extract"
"""Who made a vector."""
TRAINED = "prosocial arm train"
"""Who made an ARM."""
COPY_KIND = "fine-tuned copy"
"""How a copy's record says what it is; such a directory is never pushed."""


@dataclass(frozen=True)
class EditRecord(Record):
    """A checkpoint that a harm vector was subtracted from, or added to.

    Attributes:
        made_by: `SUBTRACTED` or `ADDED`.
        base, scale, vector, vector_source: θ as it was named, λ, and τ_m with where it was.
        vector_hash: of the vector's entries.
        sha256: of each shard, by its name.
        left_out: files of the base that were not copied.
        versions: of the packages.
        base_distance: how far the base was from the one that the vector was made on; None where they were the same.
        evidence: the sweep's choice, where λ has one.
    """

    made_by: str
    base: str
    scale: float
    vector: VectorRecord
    vector_source: str
    vector_hash: str
    sha256: dict[str, str]
    left_out: list[str]
    versions: dict[str, str]
    base_distance: str | None = None
    evidence: ChoiceRecord | None = None


@dataclass(frozen=True)
class VectorPublication(Record):
    """A harm vector beside its card: its own record, the hash of its entries, and why its λ."""

    made_by: str
    vector: VectorRecord
    vector_hash: str
    evidence: ChoiceRecord | None = None


@dataclass(frozen=True)
class ArmPublication(Record):
    """An ARM beside its card: its training.json without the log, and SHA-256 of its weights by name."""

    made_by: str
    command: list[str] | None
    recipe: dict[str, Any]
    training: dict[str, Any]
    base: BaseUsed
    data: dict[str, str]
    pairs: PairsUsed
    versions: dict[str, str]
    dev: MarginSummary | None
    sha256: dict[str, str]


@dataclass(frozen=True)
class CopyRecord(Record):
    """A copy that was fine-tuned for a harm vector: marked before it exists, and never pushed.

    Attributes:
        kind: `COPY_KIND`.
        recipe: how it was trained.
        rows, log: on how many rows, and what was logged; None while it trains.
    """

    kind: str
    recipe: dict[str, Any]
    rows: int | None = None
    log: list[dict[str, Any]] | None = None


KINDS: dict[str, type[Record]] = {
    SUBTRACTED: EditRecord,
    ADDED: EditRecord,
    EXTRACTED: VectorPublication,
    TRAINED: ArmPublication,
    COPY_KIND: CopyRecord,
}


def read_publication(file: str | Path) -> Record | None:
    """What a prosocial.json records; None where it is of no kind that this package makes.

    Raises:
        OSError: no such file.
        ProsocialError: the file is not JSON, or a record of another version.
    """
    content = read_json(file)
    kind = KINDS.get(str(content.get("made_by") or content.get("kind")))
    # Directories of other tools may hold a file of this name, which says nothing to us.
    if kind is None and FORMAT not in content:
        return None
    if kind is None and content[FORMAT] == Record.VERSION:
        made = content.get("made_by") or content.get("kind")
        raise ProsocialError(
            f"{file} records {made!r}, which this version does not know; use the version that wrote it"
        )
    return (kind or Record).parse(content, file)
