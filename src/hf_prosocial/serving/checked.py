"""Base and ARM, loaded once before an engine loads them, so that all is compared that `load_arm` compares."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel

from hf_prosocial.arm import load_arm
from hf_prosocial.assets import arm_source
from hf_prosocial.decoding import GuidedPair
from hf_prosocial.models import BaseSource, find_base
from hf_prosocial.preference import Preference

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """What fits together.

    Attributes:
        base: what is guided.
        architecture: the class of its model.
        adapter: where the ARM is: a directory, from the root, or a Hub id.
        arm: the ARM itself.
        arm_base: what the ARM adapts, where that is not the base.
    """

    base: BaseSource
    architecture: str
    adapter: str
    arm: PeftModel
    arm_base: BaseSource | None


def checked(
    base: str | Path | None,
    arm: str | Path,
    allow_mismatch: Collection[str],
    arm_base: str | Path | None = None,
) -> Checked:
    """Load both and compare them.

    Args:
        base: as `find_base` takes it.
        arm: a directory, a Hub id or "released".
        allow_mismatch: as of `load_arm`.
        arm_base: what the ARM was trained on, where that is another model of the same tokens.

    Raises:
        ProsocialError, OSError: no such base or ARM, or one that does not fit the other.
    """
    source, adapter = find_base(base), arm_source(str(arm))
    logger.info("base: %s", source.description)
    model, tokenizer = source.load()
    where, own = str(Path(adapter).resolve()) if Path(adapter).is_dir() else adapter, type(model).__name__
    if arm_base is None:
        loaded = load_arm(adapter, model, tokenizer=tokenizer, allow_mismatch=allow_mismatch)
        return Checked(source, own, where, loaded, None)
    other = find_base(arm_base)
    logger.info("the ARM's base: %s", other.description)
    of_arm, its_tokenizer = other.load()
    loaded = load_arm(adapter, of_arm, tokenizer=its_tokenizer, allow_mismatch=allow_mismatch)
    uniform = Preference.uniform(objectives=loaded.active_peft_config.names)
    GuidedPair(model, loaded, uniform, tokenizer=tokenizer)  # It compares vocabularies and tokenizers.
    return Checked(source, own, where, loaded, other)
