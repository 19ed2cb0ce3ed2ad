"""The file of a harm vector: one safetensors file with the indices and the values of each tensor's kept entries.

For a tensor called NAME: `NAME.indices` (kept,) int32, ascending, into the flattened tensor; `NAME.values` (kept,)
fp32, τ there. In a compact file, of half the size, `NAME.gaps` uint16 (see `gaps`) stand for the indices, and the
values are rounded to fp16. The file's metadata hold the record, as JSON.
"""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from hf_prosocial.errors import ProsocialError
from hf_prosocial.records import VECTOR_NAME, VectorRecord

from .checkpoint import Checkpoint
from .gaps import from_gaps
from .shard import read_header, read_metadata

FORMAT = "hf_prosocial.harm_vector.1"
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
        self.record = VectorRecord.from_dict(json.loads(metadata["record"]))

    def entries_of(self, name: str) -> tuple[Int32[np.ndarray, " kept"], Float32[np.ndarray, " kept"]]:
        """Indices (ascending, into the flattened tensor) and values of a tensor's kept entries."""
        if name + VALUES not in self._entries:
            return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
        values = self._entries[name + VALUES].read().astype(np.float32, copy=False)
        if self.record.compact:
            return from_gaps(self._entries[name + GAPS].read()), values
        return self._entries[name + INDICES].read(), values

    def content_hash(self) -> str:
        """SHA-256 over names, shapes and bytes of the indices and values; what the file says of itself is left out."""
        return Checkpoint(self.file.parent, self._entries).weight_hash()


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
    from huggingface_hub import hf_hub_download

    downloaded = hf_hub_download(str(path_or_id), VECTOR_NAME, revision=revision, token=token)
    return VectorFile(Path(downloaded), str(path_or_id))
