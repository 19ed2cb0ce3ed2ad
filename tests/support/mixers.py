"""Pico-models whose mixing is not attention alone, or whose attention or positions are unusual."""

import torch
from peft import get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from hf_prosocial.pblora import PBLoraConfig
from support.models import SHAPE, VOCABULARY, randomise

_MAMBA = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "pad_token_id": 0}
_HEADS = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4, "mamba_chunk_size": 4}
_LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [3.0, 4.0, 5.0, 6.0],
    "original_max_position_embeddings": 14,
}

MIXERS = {
    "mamba": (_MAMBA, ["in_proj", "x_proj"]),
    "falcon_mamba": (_MAMBA, ["in_proj", "x_proj"]),
    "mamba2": (_MAMBA | {"num_heads": 4, "head_dim": 8, "expand": 2, "n_groups": 1, "chunk_size": 4}, ["in_proj"]),
    "jamba": (
        SHAPE
        | {"mamba_d_state": 4, "attn_layer_offset": 0, "attn_layer_period": 2, "num_experts": 2}
        | {"expert_layer_offset": 0, "expert_layer_period": 2, "use_mamba_kernels": False},
        ["q_proj", "in_proj"],
    ),
    "bamba": (SHAPE | _HEADS | {"mamba_expand": 2, "attn_layer_indices": [0]}, ["q_proj", "in_proj"]),
    "falcon_h1": (SHAPE | _HEADS | {"mamba_expand": 2, "mamba_d_ssm": 32}, ["q_proj", "in_proj"]),
    "rwkv": (
        {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16}
        | {"intermediate_size": 24, "context_length": 64},
        ["receptance", "key"],
    ),
    "recurrent_gemma": (
        {**SHAPE, "num_hidden_layers": 3, "intermediate_size": 48, "lru_width": 16, "attention_window_size": 8},
        ["linear_x", "q_proj"],
    ),
    "gpt_neo": (
        {"vocab_size": VOCABULARY, "hidden_size": 16, "num_layers": 2, "attention_types": [[["global", "local"], 1]]}
        | {"num_heads": 2, "max_position_embeddings": 128, "window_size": 4, "bos_token_id": 1, "eos_token_id": 2},
        ["q_proj", "v_proj"],
    ),
    "mpt": ({"vocab_size": VOCABULARY, "d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 128}, ["Wqkv"]),
    "bloom": ({"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 2}, ["query_key_value"]),
    "phi3": (SHAPE | {"original_max_position_embeddings": 14, "rope_parameters": _LONG}, ["qkv_proj"]),
    "qwen2_moe": (
        SHAPE | {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "num_experts": 4},
        ["q_proj", "v_proj"],
    ),
}


def mixer(name, *, seed, dtype=torch.float32):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **MIXERS[name][0]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
    return model.to(dtype).eval()


def mixer_arm(name, *, seed, base=None):
    base = mixer(name, seed=seed) if base is None else base
    config = PBLoraConfig(r1=2, r2=3, target_modules=MIXERS[name][1], task_type="CAUSAL_LM")
    arm = get_peft_model(base, config)
    randomise(arm, seed)
    return arm.eval()
