"""`prosocial serve`: checks, says what it runs, and becomes the engine."""

import os
import shlex
import sys
from collections.abc import Sequence

from hf_prosocial.assets import RELEASED
from hf_prosocial.errors import ProsocialError
from hf_prosocial.session import parsed_preferences

from .guided_request import GuidedRequest
from .transformers_serve import assemble, check_flags, serve_command
from .vllm_serve import has_vllm, vllm_command, vllm_settings


def run_serve(
    base: str,
    arm: str | None,
    preference: str | None,
    beta: float | None,
    engine: str | None,
    allow_mismatch: Sequence[str],
    flags: Sequence[str],
    arm_base: str | None = None,
) -> None:
    """Replace this process by the engine's. Without a preference or β, requests that ask for none are not guided.

    Raises:
        ProsocialError, OSError: an engine, a flag, a base or an ARM that cannot be served.
    """
    engine = engine or ("vllm" if has_vllm() else "transformers")
    beta = float(preference is not None) if beta is None else beta
    (chosen,) = parsed_preferences(arm, [] if preference is None else [preference])
    if engine == "vllm":
        checkpoint, settings = vllm_settings(
            base, arm or RELEASED, GuidedRequest(chosen, beta), arm_base=arm_base, allow_mismatch=allow_mismatch
        )
        command, environment = vllm_command(checkpoint, settings, flags, name=base)
    elif arm_base is not None:
        raise ProsocialError("--arm-base goes with --engine vllm: what transformers serves has one model's weights")
    else:
        check_flags(flags)
        command = serve_command(assemble(base, arm or RELEASED, chosen, beta, allow_mismatch=allow_mismatch), flags)
        environment = {}
    said = [*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), shlex.join(command)]
    sys.stderr.write(" ".join(said) + "\n")
    os.execve(command[0], command, os.environ | environment)
