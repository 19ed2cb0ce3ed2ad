"""A GenARM of random adapters."""

import torch
from peft import LoraConfig, get_peft_model

from hf_prosocial import GenArm
from hf_prosocial.genarm.model import GenArmRecord
from support.models import random_base

NAMES = ("warmth", "truth", "help")


def lora(**options):
    return LoraConfig(**({"r": 2, "lora_alpha": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | options))


def random_genarm(family, *, seed, base=None):
    base = random_base(family, seed=seed) if base is None else base
    arm = get_peft_model(base, lora(), adapter_name=NAMES[0])
    for name in NAMES[1:]:
        arm.add_adapter(name, lora())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in arm.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return GenArm(arm, GenArmRecord(NAMES))
