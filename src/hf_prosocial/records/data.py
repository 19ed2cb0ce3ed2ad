"""What a folder of built data says of itself."""

from dataclasses import dataclass, field

from .record import Record

DATA = "data.json"
"""The record's file in the folder."""


@dataclass(frozen=True)
class SourceUsed:
    """A source: its licence, where to read of it, whether rows may be handed on, and each file's address and hash."""

    licence: str
    about: str
    redistribute: bool
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenFile:
    """SHA-256 of a file, its rows (1 of running text), and its bytes."""

    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class DataRecord(Record):
    """From what the files were built.

    Attributes:
        mixture: its name.
        inputs_hash: SHA-256 over its file, the local files that it names, and converters beside it.
        sources: by name.
        files: what was written, by path in the folder.
        left_out: how many rows were not taken, by section and reason.
    """

    mixture: str
    inputs_hash: str
    sources: dict[str, SourceUsed]
    files: dict[str, WrittenFile]
    left_out: dict[str, dict[str, int]]
