"""vLLM's own server with our plug-in: many requests at once, each with its own preference."""

import json
import sys
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hf_prosocial.arm import load_arm
from hf_prosocial.assets import arm_source
from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import find_base

from .guided_request import GuidedRequest

VARIABLE = "PROSOCIAL_SERVING"
"""The environment variable by which the processes that take requests in know the ARM, as JSON."""
_OURS = ("hf-overrides", "hf_overrides", "additional-config", "additional_config", "logits-processors", "scheduler-cls")


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
    source, adapter = find_base(base), arm_source(str(arm))
    model, tokenizer = source.load()
    load_arm(adapter, model, tokenizer=tokenizer, allow_mismatch=allow_mismatch)
    if not Path(adapter).is_dir():
        raise ProsocialError(
            f"vLLM's processes read the ARM from a directory, and {adapter} is none; download it first"
        )
    settings: dict[str, Any] = {
        "arm": str(Path(adapter).resolve()),
        "architecture": type(model).__name__,
        "preference": ",".join(f"{name}={weight!r}" for name, weight in default.preference.items()),
        "beta": default.beta,
    }
    return str(source.checkpoint()), settings | ({} if default.safe_set is None else {"safe_set": default.safe_set})


def vllm_command(
    checkpoint: str, settings: dict[str, Any], flags: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """The command, and the environment variables that go with it.

    Args:
        checkpoint, settings: from `vllm_settings`.
        flags: further ones of vLLM's server.

    Raises:
        ProsocialError: a flag that is ours to give.
    """
    ours = [flag for flag in flags if flag.lstrip("-").partition("=")[0] in _OURS]
    if ours:
        raise ProsocialError(f"{', '.join(ours)}: guidance stands on it, and `prosocial serve` gives it; leave it out")
    own = {
        "--hf-overrides": json.dumps({"architectures": ["ProSocialForCausalLM"]}),
        "--additional-config": json.dumps({"prosocial": settings}),
        "--logits-processors": "hf_prosocial.serving.vllm.requests:Requests",
        "--scheduler-cls": "hf_prosocial.serving.vllm.scheduler.SaltedScheduler",
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint, "--enforce-eager"]
    return [*command, *(part for pair in own.items() for part in pair), *flags], {VARIABLE: json.dumps(settings)}
