"""What a base is known by, quickly: enough to see that it was changed, without reading all of it."""

import hashlib
from pathlib import Path

from hf_prosocial.io import sha256
from hf_prosocial.models import find_base

_ENDS, _WHOLE = 1 << 20, 64 << 20
_UNREAD = (".md", ".png", ".jpg")


def base_fingerprint(base: str) -> str:
    """SHA-256 over the names of a base's files, and what each is known by.

    Of a model on the Hub, its name: what a branch holds may change, so name a directory where that matters.

    Raises:
        OSError: no such base.
    """
    source = find_base(base)
    folder = Path(source.location)
    if not folder.is_dir():
        return f"the Hub's {source.location}"
    names = [folder / source.gguf_file] if source.gguf_file else sorted(folder.iterdir())
    lines = [f"{file.name} {known_by(file)}" for file in names if file.is_file() and file.suffix not in _UNREAD]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def known_by(file: Path) -> str:
    """SHA-256 of a file; of one above 64 MiB, over its size and its first and last megabyte."""
    size = file.stat().st_size
    if size <= _WHOLE:
        return sha256(file)
    digest = hashlib.sha256(f"{size}\n".encode())
    with file.open("rb") as opened:
        digest.update(opened.read(_ENDS))
        opened.seek(size - _ENDS)
        digest.update(opened.read(_ENDS))
    return digest.hexdigest()
