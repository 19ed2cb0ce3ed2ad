"""Files of a directory, and links that lead out of it."""

from pathlib import Path


def leads_out(file: Path) -> bool:
    """Whether a file is a link to something elsewhere. Links of the Hub's cache to its own files lead nowhere else."""
    if not file.is_symlink():
        return False
    folder, target = file.parent.resolve(), file.resolve()
    blobs = folder.parent.parent / "blobs"
    return not any(target.is_relative_to(place) for place in (folder, blobs))
