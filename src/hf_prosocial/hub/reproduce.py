"""Whether what a prosocial.json records can be had again: hashes of what was made and of what it was made from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hf_prosocial.direg import CheckpointEdit, HarmVector, VectorFile, find_vector, open_checkpoint
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import sha256
from hf_prosocial.models import find_base, weight_hashes
from hf_prosocial.records import (
    ADDED,
    EXTRACTED,
    SUBTRACTED,
    TRAINED,
    VECTOR_NAME,
    ArmPublication,
    EditRecord,
    Record,
    VectorPublication,
    VectorRecord,
    read_publication,
)


@dataclass(frozen=True)
class Comparison:
    """One hash.

    Attributes:
        what: what was hashed.
        recorded: the hash in the record.
        found: the hash now, or None where there is nothing at hand to hash.
    """

    what: str
    recorded: str
    found: str | None

    @property
    def holds(self) -> bool:
        """Whether the two are the same."""
        return self.found == self.recorded


@dataclass(frozen=True)
class Reproduction:
    """A record, and where its inputs are now.

    Args:
        file: the prosocial.json, beside what it describes.
        base: where the base is; by default where the record says.
        vector: where the vector is that was subtracted; likewise.
    """

    file: Path
    base: str | None = None
    vector: str | None = None

    def record(self) -> Record:
        """The record.

        Raises:
            FileNotFoundError: no such file.
            ProsocialError: not a record of something that can be made again.
        """
        record = read_publication(self.file)
        if type(record) not in _CHECKS or (isinstance(record, EditRecord) and record.made_by == ADDED):
            raise ProsocialError(f"{self.file} records nothing that can be made again; known are {', '.join(_KNOWN)}")
        return cast(Record, record)

    def check(self) -> list[Comparison]:
        """Compare what stands beside the record and what it was made from, writing nothing.

        A safe checkpoint is made again, in a stream; nothing is fine-tuned or trained.

        Raises:
            ProsocialError: see `record`.
        """
        record = self.record()
        return _CHECKS[type(record)](self, record)

    def make(self, out: Path) -> list[Comparison]:
        """Make a safe checkpoint or a vector again at `out`, and compare it with the record.

        Raises:
            ProsocialError: an ARM, which is trained by `prosocial arm train`; and as `HarmVector.extract` and
                `HarmVector.subtract` do.
        """
        record = self.record()
        if isinstance(record, EditRecord):
            edit = CheckpointEdit(self._vector(record), "subtract", record.scale)
            base = self.base or record.base
            written = edit.write(base, out, overwrite=False, allow_mismatch=False, evidence=None)
            return _files(record.sha256, written, "made again")
        if isinstance(record, VectorPublication):
            vector = _extracted(record.vector, self.base, out)
            return [Comparison("made again: the vector's entries", record.vector_hash, vector.content_hash())]
        command = cast(ArmPublication, record).command
        again = "train it again by ArmTrainer" if command is None else f"run it again: {' '.join(command)}"
        raise ProsocialError(f"{self.file} is of a training; {again}")

    def _vector(self, record: EditRecord) -> VectorFile:
        return find_vector(self.vector or record.vector_source)

    def _safe_checkpoint(self, record: EditRecord) -> list[Comparison]:
        comparisons = _files(record.sha256, self.file.parent, "beside the record")
        vector = self._vector(record)
        comparisons.append(Comparison("the vector's entries", record.vector_hash, vector.content_hash()))
        base = self.base or record.base
        if record.base_distance is None:
            found = open_checkpoint(base).weight_hash()
            comparisons.append(Comparison("the base's weights", record.vector.base_hash, found))
        if all(comparison.holds for comparison in comparisons[len(record.sha256) :]):
            again = CheckpointEdit(vector, "subtract", record.scale).hashes(base)
            comparisons += [
                Comparison(f"made again: {name}", recorded, again.get(name)) for name, recorded in record.sha256.items()
            ]
        return comparisons

    def _harm_vector(self, record: VectorPublication) -> list[Comparison]:
        file = self.file.parent / VECTOR_NAME
        beside = VectorFile(file).content_hash() if file.is_file() else None
        base = open_checkpoint(self.base or record.vector.base).weight_hash()
        return [
            Comparison("beside the record: the vector's entries", record.vector_hash, beside),
            Comparison("the base's weights", record.vector.base_hash, base),
        ]

    def _arm(self, record: ArmPublication) -> list[Comparison]:
        model, _ = find_base(self.base or record.recipe["base"]).load()
        found = weight_hashes(model)
        return [
            *_files(record.sha256, self.file.parent, "beside the record"),
            *_files(record.data, Path(), "trained on"),
            *(
                Comparison(f"the base's weights in {dtype}", recorded, found.get(dtype))
                for dtype, recorded in (record.base.weight_hashes or {}).items()
            ),
        ]


_CHECKS: dict[type, Callable[[Reproduction, Any], list[Comparison]]] = {
    EditRecord: Reproduction._safe_checkpoint,
    VectorPublication: Reproduction._harm_vector,
    ArmPublication: Reproduction._arm,
}
_KNOWN = (SUBTRACTED, EXTRACTED, TRAINED)


def _extracted(asked: VectorRecord, base: str | None, out: Path) -> HarmVector:
    """A vector made again, as its record says."""
    protection = asked.protection
    return HarmVector.extract(
        base or asked.base,
        asked.harmful,
        asked.density,
        benign=asked.benign,
        contrast=1.0 if asked.contrast is None else asked.contrast,
        scope=asked.scope,
        include=asked.include,
        exclude=asked.exclude,
        layers=asked.layers,
        protect=protection.file if protection else None,
        protected=protection.share if protection else 0.001,
        compact=asked.compact,
        out=out,
    )


def _files(recorded: Mapping[str, str], folder: Path, what: str) -> list[Comparison]:
    return [
        Comparison(f"{what}: {name}", digest, sha256(folder / name) if (folder / name).is_file() else None)
        for name, digest in recorded.items()
    ]


def check_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Refuse hashes that are not as recorded.

    Raises:
        ProsocialError: how many, and the first.
    """
    failed = [comparison for comparison in comparisons if not comparison.holds]
    if failed:
        raise ProsocialError(f"{len(failed)} of {len(comparisons)} hashes are not as recorded: {failed[0].what}")
