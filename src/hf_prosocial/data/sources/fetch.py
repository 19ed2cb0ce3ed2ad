"""Files of sources: from a folder of raw files, from the network by their hashes, or from the Hub."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import sha256

from .files import read_rows
from .mixture import SourceFile

logger = logging.getLogger(__name__)


def rows_of(file: SourceFile, beside: Path, raw: Path | None) -> Sequence[dict[str, Any]]:
    """A file's rows.

    Args:
        file: which.
        beside: the mixture's folder, from which local paths count.
        raw: a folder that holds the files by their names; by default they are downloaded, and kept.

    Raises:
        OSError: no such file, or a full disk.
        ProsocialError: it moved, has another hash, or cannot be read.
    """
    if file.dataset is not None and raw is None:
        return _of_hub(file)
    return read_rows(found(file, beside, raw))


def found(file: SourceFile, beside: Path, raw: Path | None) -> Path:
    """Where a file lies, fetched if need be, its hash checked; errors as of `rows_of`."""
    if file.local is not None:
        path = beside / file.local
    elif raw is not None:
        path = raw / file.name
    else:
        return _downloaded(file)
    if not path.is_file():
        raise ProsocialError(f"no file {path}; {file.name} is from {file.address}")
    if file.sha256 is not None and sha256(path) != file.sha256:
        raise ProsocialError(
            f"{path} is not the file that the mixture names: its SHA-256 is {sha256(path)}, not {file.sha256}; "
            f"take it from {file.address}"
        )
    return path


def _downloaded(file: SourceFile) -> Path:
    import pooch
    from requests import RequestException

    address = file.address
    try:
        # pooch writes beside and renames, so that half a download is never taken for a file.
        path = pooch.retrieve(
            address,
            known_hash=f"sha256:{file.sha256}",
            fname=f"{(file.sha256 or '')[:12]}-{Path(file.name).name}",
            path=pooch.os_cache("hf_prosocial"),
            progressbar=sys.stderr.isatty(),
        )
    except RequestException as error:
        raise ProsocialError(
            f"{file.name} could not be fetched from {address} ({error}); if it moved, put it into a folder and give "
            f"that by --raw, as {file.name}"
        ) from error
    except ValueError as error:
        if "hash" not in str(error):
            raise
        raise ProsocialError(
            f"{address} is not what the mixture names, or came in half: {' '.join(str(error).split())}; try again, "
            "and do not use it if it stays so"
        ) from error
    return Path(path)


def _of_hub(file: SourceFile) -> Sequence[dict[str, Any]]:
    from datasets import load_dataset

    if not file.pinned:
        logger.warning("%s: its rows may change, since no commit is named", file.address)
    try:
        loaded = load_dataset(str(file.dataset), file.config, split=file.split, revision=file.revision)
    except (ValueError, FileNotFoundError, ConnectionError) as error:
        raise ProsocialError(
            f"{file.address} could not be had from the Hub ({' '.join(str(error).split())}); see whether it needs "
            f"`hf auth login`, or give its rows as {file.name} in a folder by --raw"
        ) from error
    return [dict(row) for row in loaded]
