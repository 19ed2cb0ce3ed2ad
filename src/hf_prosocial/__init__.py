"""Safe, humane decoding for open language models: ProSocialAlign (arXiv 2512.06515) for transformers and PEFT.

A preference weighs five objectives; a small reward model, conditioned on it, guides any causal language model that
shares its tokenizer, token by token:

    from hf_prosocial import Preference, ProSocialProcessor, load_arm

    arm = load_arm("path-or-hub-id")                                # a PeftModel with a PBLoRA adapter
    preference = Preference(empathy=0.5, helpfulness=0.5)           # on the simplex, or an error that says why not
    processor = ProSocialProcessor(arm, preference, beta=1.0)       # a transformers LogitsProcessor
    model.generate(**inputs, logits_processor=[processor])          # scores (rows, vocabulary) are guided at each step

What there is:

- `HarmVector`: what harmful fine-tuning changes most, found and subtracted from a checkpoint on disk.
- `Preference`: weights over named objectives.
- `PBLoraConfig`, `PBLoraModel`: the adapter, as a PEFT tuner; `bake(preference)` makes it an ordinary LoRA.
- `ArmTrainer`, `ArmTrainingArguments`, `read_pairs`: train one from preference pairs.
- `train_genarm`, `GenArm`, `GenArmProcessor`: the baseline, one LoRA for each objective, under the same data and loss.
- `load_arm`: an adapter and its base, checked against each other.
- `ProSocialProcessor`, `GuidanceLostError`: guided inference, and what is raised where guidance would be lost.
- `GuidedModel`: the same in one forward pass, where the ARM is an adapter on the base's own weights.
- `SpeculativeGuidedModel`: a small ARM drafts for the large base that it guides.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arm import (
        ArmTrainer,
        ArmTrainingArguments,
        BaseMismatchError,
        PairTrainingArguments,
        load_arm,
        read_pairs,
    )
    from .decoding import GuidanceLostError, GuidedModel, ProSocialProcessor, SpeculativeGuidedModel
    from .direg import HarmVector
    from .genarm import GenArm, GenArmProcessor, train_genarm
    from .pblora import PBLoraConfig, PBLoraModel
    from .preference import OBJECTIVES, Preference

__version__ = "0.1.0"

# Loaded when first asked for (PEP 562): torch and PEFT take seconds to import, and `prosocial --help` needs neither.
_PLACES = {
    "OBJECTIVES": "preference",
    "Preference": "preference",
    "PBLoraConfig": "pblora",
    "PBLoraModel": "pblora",
    "ArmTrainer": "arm",
    "ArmTrainingArguments": "arm",
    "BaseMismatchError": "arm",
    "GenArm": "genarm",
    "PairTrainingArguments": "arm",
    "load_arm": "arm",
    "train_genarm": "genarm",
    "read_pairs": "arm",
    "GenArmProcessor": "genarm",
    "GuidanceLostError": "decoding",
    "GuidedModel": "decoding",
    "HarmVector": "direg",
    "ProSocialProcessor": "decoding",
    "SpeculativeGuidedModel": "decoding",
}

__all__ = [
    "OBJECTIVES",
    "ArmTrainer",
    "ArmTrainingArguments",
    "BaseMismatchError",
    "GenArm",
    "GenArmProcessor",
    "GuidanceLostError",
    "GuidedModel",
    "HarmVector",
    "PBLoraConfig",
    "PBLoraModel",
    "PairTrainingArguments",
    "Preference",
    "ProSocialProcessor",
    "SpeculativeGuidedModel",
    "load_arm",
    "read_pairs",
    "train_genarm",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
