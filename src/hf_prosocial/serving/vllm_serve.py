"""vLLM's own server with our plug-in: many requests at once, each with its own preference."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError

from .checked import checked
from .guided_request import GuidedRequest

KEY = "prosocial"
"""Of vLLM's additional configuration, under which its engine finds the same."""
VARIABLE = "PROSOCIAL_SERVING"
"""The environment variable by which the processes that take requests in know the ARM, as JSON."""


def has_vllm() -> bool:
    """Whether vLLM is installed here."""
    return find_spec("vllm") is not None


def vllm_settings(
    base: str | Path | None, arm: str | Path, default: GuidedRequest, *, allow_mismatch: Collection[str] = ()
) -> tuple[str, dict[str, Any]]:
    """The checkpoint that vLLM loads, and what its processes are told of the ARM.

    Args:
        base: as `find_base` takes it.
        arm: a directory or "released". Base and ARM are loaded once, which compares all that `load_arm` does.
        default: of requests that say nothing.
        allow_mismatch: as of `load_arm`.

    Raises:
        ProsocialError, OSError: no such base or ARM, or one that does not fit the other.
    """
    source, adapter, loaded = checked(base, arm, allow_mismatch)
    if not Path(adapter).is_dir():
        raise ProsocialError(
            f"vLLM's processes read the ARM from a directory, and {adapter} is none; download it first"
        )
    architecture = type(loaded.get_base_model()).__name__
    return str(source.checkpoint()), {"arm": adapter, "architecture": architecture, **default.fields()}


def vllm_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `vllm.LLM` needs to guide, beside the checkpoint.

    Args:
        settings: from `vllm_settings`.
    """
    return {
        "hf_overrides": {"architectures": ["ProSocialForCausalLM"]},
        "additional_config": {KEY: dict(settings)},
        "logits_processors": ["hf_prosocial.serving.vllm.requests:Requests"],
        "scheduler_cls": "hf_prosocial.serving.vllm.scheduler.SaltedScheduler",
        "enforce_eager": True,
    }


def vllm_command(
    checkpoint: str, settings: Mapping[str, Any], flags: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """The command, and the environment variables that go with it.

    Args:
        checkpoint, settings: from `vllm_settings`.
        flags: further ones of vLLM's server.

    Raises:
        ProsocialError: a flag that is ours to give.
    """
    own = {f"--{name.replace('_', '-')}": value for name, value in vllm_arguments(settings).items()}
    ours = [flag for flag in flags if flag.partition("=")[0].replace("_", "-") in own]
    if ours:
        raise ProsocialError(f"{', '.join(ours)}: guidance stands on it, and `prosocial serve` gives it; leave it out")
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint]
    for flag, value in own.items():
        command += [flag, *_written(value)]
    return [*command, *flags], {VARIABLE: json.dumps(dict(settings))}


def _written(value: Any) -> list[str]:
    """A value as vLLM's command line takes it: nothing after a switch, JSON for a mapping."""
    if value is True:
        return []
    if isinstance(value, dict):
        return [json.dumps(value)]
    return value if isinstance(value, list) else [value]
