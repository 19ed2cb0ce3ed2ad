"""PBLoRA: a bilinear low-rank adapter conditioned on a preference, as a PEFT tuner  [PARM, arXiv 2505.06274].

    ΔW(p) = s · (B1·W1·A1 + B2·W2(p)·A2),   W2(p) = Σ p_i W2_i,   s = lora_alpha / r2

Importing this package makes PEFT know the type "PBLORA", so that `get_peft_model`, `PeftModel.from_pretrained` and
transformers' `load_adapter` work on it.
"""

from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)

from .config import PBLoraConfig, PBLoraType
from .from_lora import OBJECTIVE, pblora_of, without_adapters
from .layer import PBLoraLayer
from .model import PBLoraModel, set_preference, tuner_of
from .objective_gradients import ObjectiveGradients
from .row_dropout import seed_rows

# PEFT's register_peft_method takes only names of its own enum, so that the mappings are filled here.
PEFT_TYPE_TO_CONFIG_MAPPING[PBLoraType.PBLORA] = PBLoraConfig  # ty: ignore[invalid-assignment]
PEFT_TYPE_TO_TUNER_MAPPING[PBLoraType.PBLORA] = PBLoraModel  # ty: ignore[invalid-assignment]
PEFT_TYPE_TO_PREFIX_MAPPING[PBLoraType.PBLORA] = PBLoraModel.prefix  # ty: ignore[invalid-assignment]

__all__ = [
    "OBJECTIVE",
    "ObjectiveGradients",
    "PBLoraConfig",
    "PBLoraLayer",
    "PBLoraModel",
    "pblora_of",
    "seed_rows",
    "set_preference",
    "tuner_of",
    "without_adapters",
]
