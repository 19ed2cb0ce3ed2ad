"""Writing an edited copy of a checkpoint: shard by shard, beside its place, and renamed when complete."""

import errno
import hashlib
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from hf_prosocial.io import directory_beside, leads_out, progress_bar
from hf_prosocial.records import RECORD_NAME

from .checkpoint import Checkpoint, chunks, is_weights
from .shard import TensorEntry, read_header


@dataclass(frozen=True)
class Written:
    """What `write_edited` wrote: SHA-256 of each shard by its name, and the names of files that were left out."""

    hashes: dict[str, str]
    left_out: list[str]


Edit = Callable[[TensorEntry], Callable[[np.ndarray, int], None] | None]
"""For a tensor, what changes a piece of it in place, as read, given where the piece starts; None: nothing."""


def write_edited(base: Checkpoint, out: Path, edit: Edit) -> Written:
    """Write `base` into the empty directory `out`, edited; the same shard names, headers and index.

    Bytes that `edit` does not touch are copied as they are. Other files of the directory come along (configuration,
    tokenizer, chat template), but no weights in other formats, no README (it is the base's card), no folders, and
    nothing that a link brings in from elsewhere.
    """
    left_out: list[str] = []
    weights = {file.name for file in base.files}
    for file in sorted(base.folder.iterdir()):
        if file.name in weights:
            continue
        unwanted = is_weights(file) or file.name in ("README.md", RECORD_NAME) or file.name[0] == "."
        if not file.is_file() or unwanted or leads_out(file):
            left_out.append(file.name)
        else:
            shutil.copy(file, out / file.name)
    with _progress(base, "writing") as progress:
        hashes = {file.name: _write_shard(file, out / file.name, edit, progress) for file in base.files}
    return Written(hashes, left_out)


@contextmanager
def beside(out: Path, *, needed: int, overwrite: bool) -> Generator[Path]:
    """A new directory next to `out`, which takes its place when the block ends well and is removed when it does not.

    Args:
        out: where the result will stand.
        needed: bytes that will be written.
        overwrite: replace a checkpoint that stands at `out`.

    Raises:
        FileExistsError: something stands at `out`, and may not be replaced.
        OSError: too little room on the disk.
    """
    check_free(out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    room = shutil.disk_usage(out.parent).free
    if room < needed:
        raise OSError(
            errno.ENOSPC, f"{needed / 2**20:.0f} MiB are needed beside it, {room / 2**20:.0f} are free", str(out)
        )
    with directory_beside(out, replace=overwrite) as work:
        yield work


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a place where something stands, unless it is a checkpoint and may be overwritten.

    Raises:
        FileExistsError: it may not be replaced.
    """
    if not out.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{out} exists; choose another place, or overwrite it")
    if not (out / "config.json").is_file():
        raise FileExistsError(f"{out} is no checkpoint directory (no config.json in it); it is not overwritten")


def edited_hashes(base: Checkpoint, edit: Edit) -> dict[str, str]:
    """SHA-256 of each shard that `write_edited` would write, by its name; nothing is written."""
    hashes = {}
    with _progress(base, "hashing") as progress:
        for file in base.files:
            digest = hashlib.sha256()
            for piece in _edited_bytes(file, edit, progress):
                digest.update(piece)
            hashes[file.name] = digest.hexdigest()
    return hashes


def _write_shard(file: Path, target: Path, edit: Edit, progress: tqdm) -> str:
    """Write a shard; its SHA-256, taken of each piece while that is written."""
    digest = hashlib.sha256()
    with target.open("xb", buffering=0) as sink, ThreadPoolExecutor(1) as pool:
        for piece in _edited_bytes(file, edit, progress):
            hashed = pool.submit(digest.update, piece)
            _write(sink, piece)
            hashed.result()
    return digest.hexdigest()


def _edited_bytes(file: Path, edit: Edit, progress: tqdm) -> Iterator[bytes | memoryview]:
    """A shard's bytes in order, edited; each piece may be overwritten by the next."""
    entries, first = read_header(file)
    with file.open("rb") as source:
        yield source.read(first)
    for entry in entries.values():
        change = edit(entry)
        if change is None:
            yield from entry.byte_pieces()
        else:
            for start, stop in chunks(entry):
                values = entry.read(start, stop)
                change(values, start)
                yield values.view(np.uint8).data
        progress.update(entry.stop - entry.start)


def _progress(base: Checkpoint, what: str) -> tqdm:
    total = sum(entry.stop - entry.start for entry in base.tensors.values())
    return progress_bar(total, what, "B")


def _write(sink: RawIOBase, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while view:
        # A raw file may take less than it is given.
        view = view[sink.write(view) or 0 :]
