"""A place to write to that belongs to one process, for as long as it lives."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # No such locks on Windows, where two writers are not told of each other.
    fcntl = None


@contextmanager
def claimed(path: Path, *, directory: bool) -> Generator[None]:
    """Make an empty file or directory at `path` and hold it; what a process that is gone left there is cleared.

    The system lets go of it when the process dies, however it dies. So what nobody holds is nobody's.

    Raises:
        FileExistsError: a living process holds it.
    """
    with holding(path, directory=directory) as held:
        _clear(path, held)
        yield


@contextmanager
def holding(path: Path, *, directory: bool) -> Generator[int]:
    """Hold a file or directory, made where it is not there; its descriptor.

    Raises:
        FileExistsError: a living process holds it.
    """
    held = _hold(path, directory)
    try:
        yield held
    finally:
        os.close(held)


def _hold(path: Path, directory: bool) -> int:
    while True:
        if directory:
            path.mkdir(exist_ok=True)
        try:
            held = os.open(path, os.O_RDONLY if directory else os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # Renamed by its holder since it was made here.
        try:
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A holder may have renamed it before the lock was had here.
            if os.path.samestat(os.fstat(held), path.stat()):
                return held
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(held)
            raise FileExistsError(
                f"another process is writing {path.name.removeprefix('.').removesuffix('.partial')} in {path.parent}; "
                "let it end, or choose another place"
            ) from None
        os.close(held)


def _clear(path: Path, held: int) -> None:
    if not path.is_dir():
        os.ftruncate(held, 0)
        return
    for left in path.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
