"""Whether what a prosocial.json records can be had again: hashes of what was made and of what it was made from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prosocial.bases import find_base
from hf_prosocial.direg import HarmVector, VectorRecord, open_checkpoint
from hf_prosocial.direg.apply import CheckpointEdit
from hf_prosocial.direg.record import VECTOR_NAME
from hf_prosocial.direg.vector_file import VectorFile, find_vector
from hf_prosocial.files import sha256
from hf_prosocial.identity import weight_hashes


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

    def record(self) -> dict[str, Any]:
        """The record.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a record of something that can be made again.
        """
        try:
            record = json.loads(self.file.read_text(encoding="utf-8"))
            known = record["made_by"] in _CHECKS
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.file} records nothing that can be made again ({error!r})") from error
        if not known:
            raise ValueError(f"{self.file} is of {record['made_by']!r}; known are {', '.join(_CHECKS)}")
        return record

    def check(self) -> list[Comparison]:
        """Compare what stands beside the record and what it was made from, writing nothing.

        A safe checkpoint is made again, in a stream; nothing is fine-tuned or trained.

        Raises:
            ValueError: see `record`.
        """
        record = self.record()
        return _CHECKS[record["made_by"]](self, record)

    def make(self, out: Path) -> list[Comparison]:
        """Make a safe checkpoint or a vector again at `out`, and compare it with the record.

        Raises:
            ValueError: an ARM, which is trained by `prosocial arm train`; and as `HarmVector.extract` and
                `HarmVector.subtract` do.
        """
        record = self.record()
        if record["made_by"] == "HarmVector.subtract":
            edit = CheckpointEdit(self._vector(record), "subtract", record["scale"])
            base = self.base or record["base"]
            written = edit.write(base, out, overwrite=False, allow_mismatch=False, evidence=None)
            return _files(record["sha256"], written, "made again")
        if record["made_by"] == "HarmVector.extract":
            asked = VectorRecord.from_dict(record["vector"])
            protection = asked.protection
            vector = HarmVector.extract(
                self.base or asked.base,
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
            return [Comparison("made again: the vector's entries", record["vector_hash"], vector.content_hash())]
        raise ValueError(f"{self.file} is of a training; run it again: {' '.join(record['command'])}")

    def _vector(self, record: Mapping[str, Any]) -> VectorFile:
        return find_vector(self.vector or record["vector_source"])

    def _safe_checkpoint(self, record: Mapping[str, Any]) -> list[Comparison]:
        comparisons = _files(record["sha256"], self.file.parent, "beside the record")
        vector = self._vector(record)
        comparisons.append(Comparison("the vector's entries", record["vector_hash"], vector.content_hash()))
        base = self.base or record["base"]
        found = open_checkpoint(base).weight_hash()
        comparisons.append(Comparison("the base's weights", record["vector"]["base_hash"], found))
        if all(comparison.holds for comparison in comparisons[-2:]):
            again = CheckpointEdit(vector, "subtract", record["scale"]).hashes(base)
            comparisons += [
                Comparison(f"made again: {name}", recorded, again.get(name))
                for name, recorded in record["sha256"].items()
            ]
        return comparisons

    def _harm_vector(self, record: Mapping[str, Any]) -> list[Comparison]:
        file = self.file.parent / VECTOR_NAME
        beside = VectorFile(file).content_hash() if file.is_file() else None
        base = open_checkpoint(self.base or record["vector"]["base"]).weight_hash()
        return [
            Comparison("beside the record: the vector's entries", record["vector_hash"], beside),
            Comparison("the base's weights", record["vector"]["base_hash"], base),
        ]

    def _arm(self, record: Mapping[str, Any]) -> list[Comparison]:
        model, _ = find_base(self.base or record["recipe"]["base"]).load()
        found = weight_hashes(model)
        return [
            *_files(record["sha256"], self.file.parent, "beside the record"),
            *_files(record["data"], Path(), "trained on"),
            *(
                Comparison(f"the base's weights in {dtype}", recorded, found.get(dtype))
                for dtype, recorded in record["base"]["weight_hashes"].items()
            ),
        ]


_CHECKS = {
    "HarmVector.subtract": Reproduction._safe_checkpoint,
    "HarmVector.extract": Reproduction._harm_vector,
    "prosocial arm train": Reproduction._arm,
}


def _files(recorded: Mapping[str, str], folder: Path, what: str) -> list[Comparison]:
    return [
        Comparison(f"{what}: {name}", digest, sha256(folder / name) if (folder / name).is_file() else None)
        for name, digest in recorded.items()
    ]
