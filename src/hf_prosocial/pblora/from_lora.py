"""A plain LoRA as the PBLoRA adapter of one objective: the reverse of baking."""

from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from hf_prosocial.errors import ProsocialError

from .config import PBLoraConfig
from .layer import PBLoraLayer

OBJECTIVE = "baked"


def pblora_of(lora: PeftModel, base: PreTrainedModel) -> PeftModel:
    """A plain LoRA as a PBLoRA adapter: A2 = A, B2 = B, W2 = 1, s = alpha / r; its one objective is `OBJECTIVE`.

    Args:
        lora: with one active plain LoRA on linear layers, for example a baked ARM; it stays as it is.
        base: a model without adapters, which is changed: its memory may be shared with the LoRA's own base.

    Raises:
        ValueError: an adapter that is no plain LoRA of one rank and scaling (DoRA, biases, embeddings, ...).
    """
    adapter = _only_adapter(lora)
    layers = {
        name: module
        for name, module in lora.get_base_model().named_modules()
        if isinstance(module, LoraLayer) and adapter in (*module.lora_A, *module.lora_embedding_A)
    }
    found = {(layer.r[adapter], layer.scaling[adapter]) for layer in layers.values() if _is_plain(layer, adapter)}
    config = cast(LoraConfig, lora.peft_config[adapter])
    plain = all(_is_plain(layer, adapter) for layer in layers.values()) and not config.modules_to_save
    if not plain or len(found) != 1:
        raise ProsocialError(
            f"the adapter {adapter!r} is no plain LoRA of one rank and scaling on linear layers, found "
            f"{sorted(found)} on {len(layers)} layers; unmerge it, or take one that is"
        )
    ((rank, scaling),) = found
    arm = get_peft_model(
        base,
        PBLoraConfig(
            objectives=(OBJECTIVE,),
            r1=0,
            r2=rank,
            lora_alpha=scaling * rank,
            target_modules=list(layers),
            task_type="CAUSAL_LM",
        ),
    )
    with torch.no_grad():
        for name, module in base.named_modules():
            if isinstance(module, PBLoraLayer):
                source = layers[name]
                module.pblora_A["default"].copy_(source.lora_A[adapter].weight)
                module.pblora_B["default"].copy_(source.lora_B[adapter].weight)
                module.pblora_W2["default"].copy_(torch.eye(rank).flatten()[None])
    arm.requires_grad_(False)
    return cast(PeftModel, arm).eval()


def without_adapters(model: PreTrainedModel) -> PreTrainedModel:
    """Put every wrapped layer's own base layer back, in place, and forget the adapters' configuration."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    vars(model).pop("peft_config", None)
    return model


def _only_adapter(lora: PeftModel) -> str:
    active = lora.active_adapters
    if len(active) != 1 or not isinstance(lora.peft_config[active[0]], LoraConfig):
        kinds = {name: type(lora.peft_config[name]).__name__ for name in active}
        raise ProsocialError(f"expected one active LoRA, found {kinds}")
    return active[0]


def _is_plain(layer: LoraLayer, adapter: str) -> bool:
    linear = adapter in layer.lora_A and type(layer.lora_A[adapter]) is nn.Linear
    return linear and layer.lora_B[adapter].bias is None and adapter not in layer.lora_variant and not layer.merged
