"""One safetensors file as it stands on disk: where each tensor's bytes lie, read a piece at a time."""

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from hf_prosocial.errors import ProsocialError

FLOATING = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""The dtypes, as safetensors names them, whose entries can be edited, and how numpy holds them: BF16 as its bits."""

_READABLE = FLOATING | {"I32": "<i4", "U16": "<u2"}


@dataclass(frozen=True)
class TensorEntry:
    """A tensor on disk: its file, its dtype as safetensors names it, its shape, and its bytes [start, stop)."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        """Whether its entries can be edited."""
        return self.dtype in FLOATING

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Entries [start, stop) of the flattened tensor, in its own dtype; those of bfloat16 as uint16.

        Plain reads rather than a memory map: mapped pages count as this process's memory until they are unmapped.

        Raises:
            ValueError: of a dtype that is not read here, or the file ended early.
        """
        if self.dtype not in _READABLE:
            raise ProsocialError(f"{self.name} in {self.file} is {self.dtype}; {', '.join(_READABLE)} can be read")
        values = np.empty((self.size if stop is None else stop) - start, dtype=_READABLE[self.dtype])
        self.read_bytes(values.view(np.uint8).data, start * values.itemsize)
        return values

    def byte_pieces(self, size: int = 2**24) -> Iterator[memoryview]:
        """All of its bytes in order, in pieces of `size`; each piece is overwritten by the next."""
        buffer = memoryview(bytearray(min(size, self.stop - self.start)))
        for offset in range(0, self.stop - self.start, size):
            view = buffer[: min(size, self.stop - self.start - offset)]
            self.read_bytes(view, offset)
            yield view

    def read_bytes(self, buffer: memoryview, offset: int = 0) -> None:
        """Fill a buffer with the tensor's bytes from `offset` on.

        Raises:
            ValueError: the file ended early.
        """
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.start + offset)
            filled = 0
            while filled < len(buffer):
                count = file.readinto(buffer[filled:])
                if not count:
                    raise ProsocialError(f"{self.file} ended within {self.name}: truncated since it was opened")
                filled += count


def read_header(file: Path) -> tuple[dict[str, TensorEntry], int]:
    """A safetensors file's tensors in the order of their bytes, and where the first of these bytes is.

    Raises:
        ValueError: not a whole safetensors file.
    """
    header, first = _header(file)
    header.pop("__metadata__", None)
    entries = [
        TensorEntry(name, file, at["dtype"], tuple(at["shape"]), *(first + offset for offset in at["data_offsets"]))
        for name, at in header.items()
    ]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: (entry.start, entry.stop))}, first


def read_metadata(file: Path) -> dict[str, str]:
    """What a safetensors file says of itself, beside its tensors.

    Raises:
        ValueError: not a whole safetensors file.
    """
    try:
        with safe_open(file, framework="np") as whole:
            return dict(whole.metadata() or {})
    except SafetensorError as error:
        raise ProsocialError(f"{file} is not a whole safetensors file ({error}); download or save it again") from error


def _header(file: Path) -> tuple[dict[str, Any], int]:
    try:
        # The library checks the header, and that the tensors' bytes fill the file exactly.
        with safe_open(file, framework="np"):
            pass
    except SafetensorError as error:
        raise ProsocialError(f"{file} is not a whole safetensors file ({error}); download or save it again") from error
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return json.loads(stream.read(length)), 8 + length
