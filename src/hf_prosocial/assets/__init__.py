"""What is released with the package: a trained ARM."""

from importlib.resources import files
from pathlib import Path

SMOLLM2_ARM = "smollm2-135m-instruct-arm"
"""The PV-ARM for SmolLM2-135M-Instruct."""


def released_arm(name: str = SMOLLM2_ARM) -> Path:
    """The directory of a released adapter, for `load_arm`.

    Raises:
        ValueError: no such adapter in this package; the message lists those there are.
    """
    folder = Path(str(files(__name__)))
    if not (folder / name / "adapter_config.json").is_file():
        known = sorted(path.parent.name for path in folder.glob("*/adapter_config.json"))
        raise ValueError(f"no released adapter {name!r}; there are {known}")
    return folder / name
