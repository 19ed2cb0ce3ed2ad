"""What a base is known by, quickly: enough to see that it was changed, without reading all of it."""

import hashlib
from pathlib import Path

from hf_prosocial.models import find_base

_ENDS = 1 << 20
_READ = (".json", ".jinja", ".safetensors", ".gguf", ".model", ".txt")


def base_fingerprint(base: str) -> str:
    """SHA-256 over the names and sizes of a base's files, and the first and last megabyte of each.

    Of a model on the Hub, its name: what a branch holds may change, so name a directory where that matters.

    Raises:
        OSError: no such base.
    """
    source = find_base(base)
    folder = Path(source.location)
    if not folder.is_dir():
        return f"the Hub's {source.location}"
    names = [folder / source.gguf_file] if source.gguf_file else sorted(folder.iterdir())
    digest = hashlib.sha256()
    for file in names:
        if file.is_file() and file.suffix in _READ:
            size = file.stat().st_size
            digest.update(f"{file.name} {size}\n".encode())
            with file.open("rb") as opened:
                digest.update(opened.read(_ENDS))
                opened.seek(max(0, size - _ENDS))
                digest.update(opened.read(_ENDS))
    return digest.hexdigest()
