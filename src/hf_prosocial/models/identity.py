"""What a model and a tokenizer are, as hashes: so that an adapter meets the base that it was trained on."""

import hashlib
import json
from collections.abc import Mapping

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError

RECORDED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""The dtypes in which people load a base. Rounding is deterministic, so each dtype has its own hash."""


def weight_hash(model: nn.Module, dtype: torch.dtype) -> str:
    """SHA-256 over a model's weights, as they are in `dtype`: names, shapes and values, adapters left out.

    Buffers and the second name of tied weights are not part of it. One pass over the weights.

    Raises:
        ValueError: weights without data (on the meta device).
    """
    return hash_of(base_parameters(model), dtype)


def hash_of(weights: Mapping[str, Tensor], dtype: torch.dtype) -> str:
    """`weight_hash` of tensors by name; those that hold whole numbers are hashed as they are."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        if weight.is_meta:
            raise ProsocialError(
                f"cannot hash {name!r}: it has no data (meta device); load the model into memory first"
            )
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        values = weight.detach().to(dtype if weight.is_floating_point() else weight.dtype).contiguous().flatten().cpu()
        digest.update(values.view(torch.uint8).numpy())
    return digest.hexdigest()


def weight_hashes(model: nn.Module) -> dict[str, str]:
    """The weight hash in each of `RECORDED_DTYPES`, by the dtype's name ("float32", ...)."""
    return {str(dtype).removeprefix("torch."): weight_hash(model, dtype) for dtype in RECORDED_DTYPES}


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over which token each id stands for: what a guide and its base must agree on."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary, ensure_ascii=True).encode()).hexdigest()


def base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """A model's weights by the names that they have without adapters; the adapters' own are left out."""
    adapters = {
        id(weight)
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
        for name in layer.adapter_layer_names
        for kept in getattr(layer, name).values()
        for weight in (kept.parameters() if isinstance(kept, nn.Module) else [kept])
    }
    # A wrapped layer's weight is called "q_proj.base_layer.weight", and a PeftModel's names have a prefix.
    return {
        name.replace(".base_layer.", ".").removeprefix("base_model.model."): weight
        for name, weight in model.named_parameters()
        if id(weight) not in adapters
    }
