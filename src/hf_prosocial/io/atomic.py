"""Writing beside and renaming, so that no file is ever half there."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    beside = path.with_name(path.name + ".partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


@contextmanager
def directory_beside(out: Path, *, replace: bool = False) -> Generator[Path]:
    """An empty directory beside `out`, which it becomes at the end of the block; after an error nothing is left of it.

    Args:
        out: where the result will stand.
        replace: whatever stands there by then.

    Raises:
        OSError: something stands there by then, and is not to be replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        work.chmod(0o777 & ~_umask())
        yield work
        if replace and out.exists():
            replaced = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".replaced", dir=out.parent))
            out.rename(replaced / out.name)
            work.rename(out)
            shutil.rmtree(replaced)
        else:
            work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
