"""Writing an edited copy of a checkpoint: shard by shard, beside its place, and renamed when complete."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from .checkpoint import Checkpoint, chunks, is_weights
from .record import RECORD_NAME
from .shard import TensorEntry, read_header

Edit = Callable[[TensorEntry], Callable[[Tensor, int], None] | None]
"""For a tensor, what changes its flattened entries in place, given a piece and where it starts; None: nothing."""


def write_edited(base: Checkpoint, out: Path, edit: Edit) -> list[str]:
    """Write `base` into the empty directory `out`, edited; the same shard names, headers and index.

    Bytes that `edit` does not touch are copied as they are. Other files of the directory come along (configuration,
    tokenizer, chat template), but no weights in other formats, no README (it is the base's card), no folders.

    Returns:
        The names that were left out.
    """
    left_out: list[str] = []
    weights = {file.name for file in base.files}
    for file in sorted(base.folder.iterdir()):
        if file.name in weights:
            continue
        if not file.is_file() or is_weights(file) or file.name in ("README.md", RECORD_NAME) or file.name[0] == ".":
            left_out.append(file.name)
        else:
            shutil.copy(file, out / file.name)
    total = sum(file.stat().st_size for file in base.files)
    with tqdm(total=total, desc="writing", unit="B", unit_scale=True, disable=None) as progress:
        for file in base.files:
            _write_shard(file, out / file.name, edit, progress)
    return left_out


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
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        work.chmod(0o777 & ~_umask())
        yield work
        if out.exists():
            replaced = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".replaced", dir=out.parent))
            out.rename(replaced / out.name)
            work.rename(out)
            shutil.rmtree(replaced)
        else:
            work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


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


def _write_shard(file: Path, target: Path, edit: Edit, progress: tqdm) -> None:
    entries, first = read_header(file)
    with file.open("rb", buffering=0) as source, target.open("xb", buffering=0) as sink:
        _write(sink, source.read(first))
        for entry in entries.values():
            change = edit(entry)
            if change is None:
                for piece in entry.byte_pieces():
                    _write(sink, piece)
            else:
                for start, stop in chunks(entry):
                    values = entry.read(start, stop)
                    change(values, start)
                    _write(sink, memoryview(values.view(torch.uint8).numpy()))
            progress.update(entry.stop - entry.start)


def _write(sink: RawIOBase, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while view:
        # A raw file may take less than it is given.
        view = view[sink.write(view) or 0 :]


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
