"""A place to write to that belongs to one process, for as long as it lives."""

import errno
import logging
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # No such locks on Windows.
    fcntl = None

_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""What file systems answer that have no locks; NFS has none for directories."""
logger = logging.getLogger(__name__)


@contextmanager
def one_writer(folder: str | Path, *, writes: bool = True) -> Generator[None]:
    """Hold a folder, made where it is not there, against everybody else who would write into it by this function.

    Args:
        folder: that one writes into.
        writes: False in those processes of a training that write nothing; they hold nothing.

    Raises:
        FileExistsError: a living process, or another part of this one, holds it.
    """
    if not writes:
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with holding(Path(folder), directory=True) as locked:
        if not locked:
            logger.warning("no other process may write into %s, whose file system has no locks to see to that", folder)
        yield


@contextmanager
def claimed(path: Path, *, directory: bool) -> Generator[None]:
    """Make an empty file or directory at `path` and hold it; what a process that is gone left there is cleared.

    The system lets go of it when the process dies, however it dies. So what nobody holds is nobody's.

    Raises:
        FileExistsError: a living process holds it; or a directory is there, and no locks to tell whether one does.
    """
    with holding(path, directory=directory) as locked:
        if directory and not locked and any(path.iterdir()):
            raise FileExistsError(
                f"{path} is there, from another process that writes or that was killed, and its file system has no "
                "locks to tell which; remove it if none writes"
            )
        _clear(path)
        yield


@contextmanager
def holding(path: Path, *, directory: bool) -> Generator[bool]:
    """Hold a file or directory, made where it is not there; whether the file system could lock it.

    Raises:
        FileExistsError: a living process holds it.
    """
    held = _hold(path, directory)
    try:
        yield held is not None
    finally:
        if held is not None:
            os.close(held)


def _hold(path: Path, directory: bool) -> int | None:
    """A descriptor that has the lock; None where there are no locks."""
    while True:
        if directory:
            path.mkdir(exist_ok=True)
        else:
            path.touch()
        if fcntl is None:
            return None
        try:
            held = os.open(path, os.O_RDONLY if directory else os.O_RDWR)
        except FileNotFoundError:
            continue  # Renamed by its holder since it was made here.
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A holder may have renamed it before the lock was had here.
            if os.path.samestat(os.fstat(held), path.stat()):
                return held
            os.close(held)
        except FileNotFoundError:
            os.close(held)
        except OSError as error:
            os.close(held)
            if error.errno in _NO_LOCKS:
                return None
            if not isinstance(error, BlockingIOError):
                raise
            raise FileExistsError(
                f"another process is writing {path.name.removeprefix('.').removesuffix('.partial')} in {path.parent}; "
                "let it end, or choose another place"
            ) from None


def _clear(path: Path) -> None:
    if not path.is_dir():
        os.truncate(path, 0)
        return
    for left in path.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
