"""Renames that lose nothing: Linux has them, other systems come close."""

import ctypes
import errno
import os
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths are relative to the working directory.
_NO_REPLACE, _EXCHANGE = 1, 2
_UNKNOWN = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def move_new(source: Path, target: Path) -> None:
    """Rename where nothing stands.

    Raises:
        FileExistsError: something does.
    """
    if not _renamed(source, target, _NO_REPLACE):
        if target.exists():
            raise FileExistsError(f"{target} exists")
        source.rename(target)


def exchange(source: Path, target: Path) -> None:
    """Let two names change places at once; where the system cannot, the target is away for a moment, never lost."""
    if _renamed(source, target, _EXCHANGE):
        return
    aside = target.with_name(f".{target.name}.replaced")
    target.rename(aside)
    try:
        source.rename(target)
    except OSError:
        aside.rename(target)
        raise
    aside.rename(source)


def _renamed(source: Path, target: Path, flag: int) -> bool:
    """Whether the system knows such renames, and this one is done."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(source), _HERE, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(target))
