"""The file by which transformers' `generate` guides by an ARM on the Hub, without this package."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import write_text

SOURCE = "standalone.py"


def write_custom_generate(
    folder: Path,
    repo_id: str,
    config: Mapping[str, Any],
    *,
    preference: Mapping[str, float] | None = None,
    beta: float = 1.0,
) -> None:
    """Write custom_generate/generate.py, which is `standalone.py` with the repository's name in it.

    Args:
        folder: of what is published.
        repo_id: where the adapter will be: its repository, or its directory.
        config: its adapter_config.json.
        preference: where `generate` is given none; without one here, it must be given one.
        beta: where `generate` is given none. At 0 the base answers whoever asks for no preference; others get 1.

    Raises:
        ProsocialError: the adapter records no sketch of its base, or no objectives, which the file reads.
    """
    missing = [name for name in ("base_sketch", "objectives") if not config.get(name)]
    if missing:
        raise ProsocialError(
            f"custom_generate checks and weighs by {' and '.join(missing)}, which the adapter's configuration lacks; "
            "train it with this package"
        )
    source = files("hf_prosocial.hub").joinpath(SOURCE).read_text(encoding="utf-8")
    default = None if preference is None else dict(preference)
    source = source.replace("PREFERENCE, BETA = None, 1.0", f"PREFERENCE, BETA = {default!r}, {beta!r}")
    source = source.replace("@ARM@", repo_id)
    (folder / "custom_generate").mkdir()
    write_text(folder / "custom_generate" / "generate.py", source)
