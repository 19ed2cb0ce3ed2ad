"""Base and ARM, loaded once before an engine loads them, so that all is compared that `load_arm` compares."""

import logging
from collections.abc import Collection
from pathlib import Path

from peft import PeftModel

from hf_prosocial.arm import load_arm
from hf_prosocial.assets import arm_source
from hf_prosocial.models import BaseSource, find_base

logger = logging.getLogger(__name__)


def checked(
    base: str | Path | None, arm: str | Path, allow_mismatch: Collection[str]
) -> tuple[BaseSource, str, PeftModel]:
    """Where the base is; where the adapter is, from the root where it is a directory; and the ARM.

    Args:
        base: as `find_base` takes it.
        arm: a directory, a Hub id or "released".
        allow_mismatch: as of `load_arm`.

    Raises:
        ProsocialError, OSError: no such base or ARM, or one that does not fit the other.
    """
    source, adapter = find_base(base), arm_source(str(arm))
    logger.info("base: %s", source.description)
    model, tokenizer = source.load()
    loaded = load_arm(adapter, model, tokenizer=tokenizer, allow_mismatch=allow_mismatch)
    return source, str(Path(adapter).resolve()) if Path(adapter).is_dir() else adapter, loaded
