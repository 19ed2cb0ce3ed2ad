"""Writing the file of a harm vector, tensor by tensor."""

import json
import shutil
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import file_beside

from .checkpoint import Checkpoint
from .gaps import to_gaps
from .shard import read_header
from .vector_file import CHECKSUM, FORMAT, GAPS, INDICES, VALUES


class VectorWriter:
    """Writes a vector's file tensor by tensor; nothing stands at its path until `finish`."""

    def __init__(self, path: Path, *, compact: bool) -> None:
        self.path, self.compact = path, compact
        self.header: dict[str, dict[str, Any]] = {}
        self.offset = 0
        # The header stands before the data in the format, and is known only after it. Closed by `finish` or `close`.
        self._data = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115

    def add(
        self, name: str, pieces: Iterable[tuple[Int[Tensor, " kept"], Float[Tensor, " kept"]]]
    ) -> tuple[int, float]:
        """Write a tensor's kept entries.

        Returns:
            How many there are, and their squared norm. A tensor without kept entries takes no room in the file.

        Raises:
            ValueError: a compact file, and values beyond fp16.
        """
        parts = list(pieces)
        indices = torch.cat([part[0].to(torch.int32) for part in parts]).numpy()
        values = torch.cat([part[1].float() for part in parts])
        if self.compact:
            values = values.half()
            if not torch.isfinite(values).all():
                raise ProsocialError(f"the difference in {name} does not fit fp16; write the vector without compact")
        if len(indices):
            if self.compact:
                self._append(name + GAPS, "U16", to_gaps(indices))
            else:
                self._append(name + INDICES, "I32", indices)
            self._append(name + VALUES, "F16" if self.compact else "F32", values.numpy())
        return len(indices), values.double().square().sum().item()

    def finish(self, record: dict[str, Any]) -> None:
        """Put the header, with the record and a checksum in it, before the data, and the whole at its path."""
        self._data.seek(0)
        try:
            with file_beside(self.path) as work:
                with work.open("wb") as file:
                    file.write(self._header(record, "0" * 64))
                    shutil.copyfileobj(self._data, file, 2**24)
                checksum = Checkpoint(work.parent, read_header(work)[0]).weight_hash()
                with work.open("r+b") as file:
                    file.write(self._header(record, checksum))
        finally:
            self.close()

    def _header(self, record: dict[str, Any], checksum: str) -> bytes:
        metadata = {"format": FORMAT, "record": json.dumps(record), CHECKSUM: checksum}
        header = json.dumps({"__metadata__": metadata, **self.header}).encode()
        header += b" " * (-len(header) % 8)
        return struct.pack("<Q", len(header)) + header

    def close(self) -> None:
        """Give up what was written so far."""
        self._data.close()

    def _append(self, key: str, dtype: str, values: np.ndarray) -> None:
        content = values.view(np.uint8).data
        self._data.write(content)
        stop = self.offset + len(content)
        self.header[key] = {"dtype": dtype, "shape": [len(values)], "data_offsets": [self.offset, stop]}
        self.offset = stop
