"""`transformers serve` on a folder whose `generate` guides: one request at a time, each with its own preference."""

import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from huggingface_hub.constants import HF_HOME

from hf_prosocial.decoding import check_strength
from hf_prosocial.errors import ProsocialError
from hf_prosocial.hub import write_custom_generate
from hf_prosocial.io import directory_beside
from hf_prosocial.preference import Preference

from .checked import checked
from .vllm_serve import guided_in_words

# Its own batching calls no logits processor, and would answer unguided.
_DROPS_GUIDANCE = re.compile(r"--continuous[-_]batching|--cb[-_]")
_START = "from transformers.cli.transformers import main; main()"


def assemble(
    base: str | Path | None,
    arm: str | Path,
    preference: Preference,
    beta: float,
    *,
    allow_mismatch: Collection[str] = (),
    folder: str | Path | None = None,
) -> Path:
    """Make the folder that is served: links to the base's files, and `custom_generate/generate.py`.

    Args:
        base: as `find_base` takes it.
        arm: a directory, a Hub id or "released". It is loaded once, which compares all that `load_arm` does.
        preference: of requests that bring none.
        beta: likewise.
        allow_mismatch: as of `load_arm`.
        folder: where to; by default a place in the cache, whose name, the served model's, tells preference and β.

    Returns:
        The folder.

    Raises:
        ProsocialError, OSError: no such base or ARM, or one that does not fit the other.
    """
    check_strength(beta, None)
    found = checked(base, arm, allow_mismatch)
    source, checkpoint = found.base, found.base.checkpoint()
    name = f"{Path(source.gguf_file or source.location).name} {guided_in_words(str(preference), beta)}"
    cached = Path(HF_HOME) / "hf_prosocial" / "served" / re.sub(r"[^\w.=]+", "-", name)
    where = cached if folder is None else Path(folder)
    with directory_beside(where, replace=True) as work:
        for file in sorted(checkpoint.iterdir()):
            if file.is_file():
                (work / file.name).symlink_to(file.resolve())
        config = found.arm.active_peft_config.to_dict()
        write_custom_generate(work, found.adapter, config, preference=preference, beta=beta)
    return where


def check_flags(flags: Sequence[str]) -> None:
    """Refuse flags of `transformers serve` by which requests would be answered unguided.

    Raises:
        ProsocialError: which ones.
    """
    dropping = [flag for flag in flags if _DROPS_GUIDANCE.match(flag)]
    if dropping:
        raise ProsocialError(
            f"{', '.join(dropping)}: transformers' continuous batching calls no logits processor, and would answer "
            "unguided; leave it out"
        )


def serve_command(folder: str | Path, flags: Sequence[str] = ()) -> list[str]:
    """The command that serves an assembled folder.

    Args:
        folder: from `assemble`.
        flags: further ones of `transformers serve`.

    Raises:
        ProsocialError: as `check_flags`.
    """
    check_flags(flags)
    return [sys.executable, "-c", _START, "serve", str(folder), "--trust-remote-code", *flags]
