"""vLLM's own server with our plug-in: many requests at once, each with its own preference."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from hf_prosocial.assets import vector_source
from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.io import sha256

from .checked import Checked, checked
from .guided_request import GuidedRequest

KEY = "prosocial"
"""Of vLLM's additional configuration, under which its engine finds the same."""
# CUDA graphs have not been tried on a GPU; whoever has one may ask for them.
_OF_COMPILATION = ("--compilation-config", "-cc", "-O", "--optimization-level", "--enforce-eager")
VARIABLE = "PROSOCIAL_SERVING"
"""The environment variable by which the processes that take requests in know the ARM, as JSON."""


def has_vllm() -> bool:
    """Whether vLLM is installed here."""
    return find_spec("vllm") is not None


def vllm_settings(
    base: str | Path | None,
    arm: str | Path,
    default: GuidedRequest,
    *,
    arm_base: str | Path | None = None,
    vector: str | Path | None = None,
    allow_mismatch: Collection[str] = (),
) -> tuple[str, dict[str, Any]]:
    """The checkpoint that vLLM loads, and what its processes are told of the ARM.

    Args:
        base: as `find_base` takes it.
        arm: a directory, a Hub id or "released". Base and ARM are loaded once, which compares all that `load_arm` does.
        default: of requests that say nothing.
        arm_base: what the ARM was trained on, where that is another model of the same tokens, such as the base before
            a harm vector was subtracted from it. The engine then holds the weights of both.
        vector: a gated harm vector of the base, of which each request may take λ away (`harm_scale`). Its gate is not
            asked: whoever sends a request says λ(x), as `GatedHarmVector.scales` does. Of β is left 1 − λ(x) / λ.
        allow_mismatch: as of `load_arm`.

    Raises:
        ProsocialError, OSError: no such base or ARM, or one that does not fit the other.
    """
    found = checked(base, arm, allow_mismatch, arm_base)
    adapter = found.adapter if Path(found.adapter).is_dir() else snapshot_download(found.adapter)
    # Of the weights that were checked: another ARM in the same place is noticed, and no graph is taken for its own.
    digest = sha256(Path(adapter) / "adapter_model.safetensors")
    settings = {"arm": adapter, "arm_sha256": digest, "architecture": found.architecture, **default.fields()}
    if found.arm_base is not None:
        settings["arm_base"] = str(found.arm_base.checkpoint())
        settings["arm_architecture"] = type(found.arm.get_base_model()).__name__
    if vector is not None:
        settings |= _checked_vector(vector, found, allow_mismatch)
    return str(found.base.checkpoint()), settings


def _checked_vector(vector: str | Path, found: Checked, allow_mismatch: Collection[str]) -> dict[str, Any]:
    """The directory of a gated harm vector that belongs to the base, the hash of what it holds, and its own λ."""
    source = vector_source(str(vector))
    where = str(Path(source).resolve()) if Path(source).is_dir() else snapshot_download(source)
    opened = GatedHarmVector.from_pretrained(where)
    opened.check(*found.base.load(), allow_mismatch)
    return {"vector": where, "vector_hash": opened.content_hash(), "vector_scale": opened.scale}


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
    }


def vllm_command(
    checkpoint: str, settings: Mapping[str, Any], flags: Sequence[str] = (), *, name: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """The command, and the environment variables that go with it.

    Args:
        checkpoint: from `vllm_settings`.
        settings: likewise.
        flags: further ones of vLLM's server.
        name: of the served model, by which clients ask for it; a second name tells the default. By default the
            checkpoint.

    Raises:
        ProsocialError: a flag that is ours to give.
    """
    own = {f"--{key.replace('_', '-')}": value for key, value in vllm_arguments(settings).items()}
    given = {flag.partition("=")[0].replace("_", "-") for flag in flags}
    if given & set(own):
        raise ProsocialError(
            f"{', '.join(sorted(given & set(own)))}: guidance stands on what `prosocial serve` gives; leave it out"
        )
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint]
    for flag, value in own.items():
        command += [flag, *_written(value)]
    command += ["--middleware", "hf_prosocial.serving.vllm.http.guidance"]
    if "--served-model-name" not in given:
        name = name or checkpoint
        weights = ",".join(one for one in settings["preference"].split(",") if not one.endswith("=0.0"))
        said = f"{name} {guided_in_words(weights, settings['beta'])}"
        command += ["--served-model-name", name, said]
    if not any(flag.startswith(_OF_COMPILATION) for flag in given):
        command += ["--compilation-config", '{"cudagraph_mode": "NONE"}']
    return [*command, *flags], {VARIABLE: json.dumps(dict(settings))}


def guided_in_words(preference: str, beta: float) -> str:
    """How requests that ask for nothing are answered, as a model's second name tells it."""
    return f"guided by {preference} at beta {beta:g}" if beta > 0 else "guided where a request asks"


def _written(value: Any) -> list[str]:
    """A value as vLLM's command line takes it: nothing after a switch, JSON for a mapping."""
    if value is True:
        return []
    if isinstance(value, dict):
        return [json.dumps(value)]
    return value if isinstance(value, list) else [value]
