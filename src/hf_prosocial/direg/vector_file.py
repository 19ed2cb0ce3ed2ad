"""The file of a harm vector: one safetensors file with the indices and the values of each tensor's kept entries.

For a tensor called NAME: `NAME.indices` (kept,) int32, ascending, into the flattened tensor; `NAME.values` (kept,)
fp32, τ there. In a compact file, of half the size, `NAME.gaps` uint16 (see `gaps`) stand for the indices, and the
values are rounded to fp16. The file's metadata hold the record, as JSON, and SHA-256 of the entries.
"""

import json
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import check_hub_id
from hf_prosocial.records import VECTOR_NAME, VectorRecord

from .checkpoint import Checkpoint
from .gaps import from_gaps
from .shard import FLOATING, TensorEntry, read_header, read_metadata

FORMAT = "hf_prosocial.harm_vector.1"
CHECKSUM = "sha256"
INDICES, GAPS, VALUES = ".indices", ".gaps", ".values"
LARGEST = 2**31 - 1
"""The most entries of a tensor, so that an index fits int32."""


class VectorFile:
    """A vector on disk, read without torch.

    Attributes:
        file: the file.
        source: where it was found: a path or a Hub id.
        record: how it was made, and how much of each tensor it holds.

    Raises:
        ValueError: not a whole safetensors file, or not a harm vector's.
    """

    def __init__(self, file: Path, source: str | None = None) -> None:
        self.file = file
        self.source = source or str(file)
        self._entries, _ = read_header(file)
        metadata = read_metadata(file)
        if metadata.get("format") != FORMAT:
            raise ProsocialError(f"{file} has the format {metadata.get('format')!r}; {FORMAT!r} was expected")
        self.record = _record_of(file, metadata)
        self._checksum = metadata.get(CHECKSUM)

    def entries_of(self, name: str) -> tuple[Int32[np.ndarray, " kept"], Float32[np.ndarray, " kept"]]:
        """Indices (ascending, into the flattened tensor) and values of a tensor's kept entries.

        Raises:
            ProsocialError: entries that are not those of the record, by number, order, range or value.
        """
        tensor = self.record.tensors[name]
        if not tensor.kept and name + VALUES not in self._entries:
            return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
        values = self._part(name, VALUES).read().astype(np.float32, copy=False)
        compact = self.record.compact
        indices = from_gaps(self._part(name, GAPS).read()) if compact else self._part(name, INDICES).read()
        size = math.prod(tensor.shape)
        wrong = None
        if not len(indices) == len(values) == tensor.kept:
            wrong = f"{len(indices)} indices and {len(values)} values, its record says {tensor.kept}"
        elif indices.ndim != 1 or values.ndim != 1 or (np.diff(indices) <= 0).any():
            wrong = "indices that do not ascend"
        elif len(indices) and (indices[0] < 0 or indices[-1] >= size):
            wrong = f"indices from {indices[0]} to {indices[-1]}, of a tensor with {size} entries"
        elif not np.isfinite(values).all():
            wrong = "values that are not finite"
        if wrong:
            raise ProsocialError(f"{self.file} has for {name} {wrong}; the file is damaged, get it again")
        return indices, values

    def _part(self, name: str, kind: str) -> TensorEntry:
        dtype = {VALUES: "F16" if self.record.compact else "F32", INDICES: "I32", GAPS: "U16"}[kind]
        found = self._entries.get(name + kind)
        if found is None or found.dtype != dtype:
            has = "nothing" if found is None else found.dtype
            raise ProsocialError(f"{self.file} has {has} as {name + kind}, {dtype} was expected; get the file again")
        return found

    def content_hash(self) -> str:
        """SHA-256 over names, shapes and bytes of the indices and values; what the file says of itself is left out.

        Raises:
            ProsocialError: the entries are not those that the file was written with.
        """
        found = Checkpoint(self.file.parent, self._entries).weight_hash()
        if self._checksum not in (None, found):
            raise ProsocialError(
                f"the entries of {self.file} have the SHA-256 {found[:12]}..., the file says {self._checksum[:12]}...; "
                "it is damaged or was edited, get it again"
            )
        return found


def _record_of(file: Path, metadata: dict[str, str]) -> VectorRecord:
    try:
        content = json.loads(metadata["record"])
    except (KeyError, ValueError) as error:
        raise ProsocialError(f"{file} holds no record of its vector ({error!r}); get the file again") from error
    try:
        record = VectorRecord.from_dict(content)
    except ProsocialError as error:
        raise ProsocialError(f"{file}: {error}") from error
    unknown = sorted({tensor.dtype for tensor in record.tensors.values()} - FLOATING.keys())
    if unknown:
        raise ProsocialError(f"{file} says that its base has the dtypes {unknown}; {', '.join(FLOATING)} can be edited")
    kept = sum(tensor.kept for tensor in record.tensors.values())
    if kept != record.kept:
        raise ProsocialError(f"{file} says that it keeps {record.kept} entries, and {kept} in its tensors")
    return record


def find_vector(path_or_id: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> VectorFile:
    """Open a vector: its file, a directory with `harm_vector.safetensors`, or a Hub id.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see `VectorFile`.
    """
    path = Path(path_or_id)
    if path.is_dir():
        path = path / VECTOR_NAME
    if path.is_file():
        return VectorFile(path)
    if path.suffix == ".safetensors" or path.name == VECTOR_NAME:
        raise FileNotFoundError(f"no file {path}")
    check_hub_id(str(path_or_id))
    from huggingface_hub import hf_hub_download

    downloaded = hf_hub_download(str(path_or_id), VECTOR_NAME, revision=revision, token=token)
    return VectorFile(Path(downloaded), str(path_or_id))
