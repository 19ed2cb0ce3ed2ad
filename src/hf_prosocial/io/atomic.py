"""Writing beside and renaming, so that no file is ever half there."""

import json
import math
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .claim import claimed, holding
from .rename import exchange, move_new


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write beside and rename. A figure that is not finite is null, JSON having no word for it."""
    write_text(path, json.dumps(_as_json(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: Path, text: str) -> None:
    """Write beside and rename."""
    with file_beside(path) as work:
        work.write_text(text, encoding="utf-8")


@contextmanager
def file_beside(path: Path) -> Generator[Path]:
    """An empty file beside `path`, which it replaces at the end of the block; after an error nothing is left of it.

    What a killed process left there is cleared.

    Raises:
        FileExistsError: another process is writing the same file.
    """
    work = path.with_name(f"{path.name}.partial")
    with claimed(work, directory=False):
        try:
            yield work
            work.replace(path)
        finally:
            work.unlink(missing_ok=True)


@contextmanager
def directory_beside(out: Path, *, replace: bool = False) -> Generator[Path]:
    """An empty directory beside `out`, which it becomes at the end of the block; after an error nothing is left of it.

    What a killed process left there is cleared. There is no moment without a directory at `out` where one is replaced.

    Args:
        out: where the result will stand.
        replace: what stands there now; never what appears there meanwhile.

    Raises:
        FileExistsError: something stands there and is not to be replaced, or appeared or changed meanwhile; or another
            process is writing to the same place.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    work = out.with_name(f".{out.name}.partial")
    with claimed(work, directory=True):
        try:
            before = _standing(out)
            if before is not None and not replace:
                raise FileExistsError(f"{out} exists; choose another place, or overwrite it")
            yield work
            if _standing(out) != before:
                raise FileExistsError(
                    f"{out} appeared or was changed while it was being written, and is left as it is; choose another "
                    "place, or write again"
                )
            if before is None:
                move_new(work, out)
            else:
                _take_place(work, out)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _take_place(work: Path, out: Path) -> None:
    """Put what was written in the place of what stands there, which is removed."""
    with holding(out, directory=True):  # At the name of `work` it would else be taken for a dead process's.
        exchange(work, out)
        if work.is_symlink():
            work.unlink()
        else:
            shutil.rmtree(work)


def _standing(path: Path) -> tuple[int, int, int] | None:
    """What stands at a path, so that anything else, or a change to it, is another value."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
