"""Baking: under one fixed preference a PBLoRA adapter is an ordinary LoRA, exactly."""

from pathlib import Path

import torch
from jaxtyping import Float
from peft import LoraConfig
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor, nn

from hf_prosocial.io import directory_beside
from hf_prosocial.precision import at_least_fp32

from .config import PBLoraConfig
from .layer import PBLoraLayer


def baked_lora(
    model: nn.Module, config: PBLoraConfig, adapter: str, p: Float[Tensor, " k"]
) -> tuple[LoraConfig, dict[str, Float[Tensor, "rows columns"]]]:
    """PEFT's configuration and state of the LoRA  A' = A, B' = B·blockdiag(W1, W2(p)), alpha' = s·(r1 + r2).

    The state is at least fp32.
    """
    lora_alpha = config.scaling * config.rank
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=int(lora_alpha) if lora_alpha == int(lora_alpha) else lora_alpha,  # ty: ignore[invalid-argument-type]
        lora_dropout=config.lora_dropout,
        target_modules=_listed(config.target_modules),
        exclude_modules=_listed(config.exclude_modules),
        layers_to_transform=config.layers_to_transform,
        layers_pattern=config.layers_pattern,
        fan_in_fan_out=config.fan_in_fan_out,
        base_model_name_or_path=config.base_model_name_or_path,
        task_type=config.task_type,
        inference_mode=True,
    )
    state: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, PBLoraLayer) and adapter in layer.pblora_A:
            A, B = (at_least_fp32(weights[adapter].detach()).cpu() for weights in (layer.pblora_A, layer.pblora_B))
            W1, W2 = (at_least_fp32(weights[adapter].detach()).cpu() for weights in (layer.pblora_W1, layer.pblora_W2))
            core = torch.block_diag(W1, (p.cpu().to(W2.dtype) @ W2).view(config.r2, config.r2))
            state[f"base_model.model.{name}.lora_A.weight"] = A.clone()
            state[f"base_model.model.{name}.lora_B.weight"] = B @ core
    return lora, state


def _listed(names: set[str] | list[str] | str | None) -> list[str] | str | None:
    return sorted(names) if isinstance(names, set) else names


def write_baked(directory: Path, config: LoraConfig, state: dict[str, Float[Tensor, "rows columns"]]) -> None:
    """Write a PEFT adapter directory beside its place and rename it, so that it is there whole or not at all.

    Raises:
        FileExistsError: the directory exists already.
    """
    if directory.exists():
        raise FileExistsError(f"{directory} exists already; choose another directory, or remove it first")
    with directory_beside(directory) as work:
        config.save_pretrained(str(work))
        save_file(state, work / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
