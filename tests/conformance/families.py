"""Decoder families of transformers as pico-models: small enough to run in a moment, with weights that have opinions."""

import torch
from support.models import SHAPE, VOCABULARY
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

NO_SUCH = object()
"""In place of a value: the family's configuration does not take it."""
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "n_group": 1,
    "topk_group": 1,
}
_GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128, "hidden_size": 16}
_HEADS = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 4, "mamba_chunk_size": 4}
_STATE = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "pad_token_id": 0}
_WHOLE = {"num_key_value_heads": 2}
_MLA = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    **_WHOLE,
}

EVERY_DAY = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": EXPERTS,
    "gemma3_text": {
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 8,
    },
    "mistral": {"sliding_window": 6},
    "mixtral": EXPERTS,
    "phi3": {},
    "gpt_oss": EXPERTS | {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
    "olmo2": {},
    "granite": {},
    "smollm3": {"no_rope_layers": [1, 0]},
}
"""The families that are most used; `make test` runs them."""

OTHERS = {
    "afmoe": EXPERTS,
    "apertus": {},
    "arcee": {},
    "bamba": _HEADS | {"mamba_expand": 2, "attn_layer_indices": [0]},
    "bitnet": {},
    "biogpt": _WHOLE,
    "bloom": {"n_layer": 2, "n_head": 2},
    "codegen": _GPT | {"rotary_dim": 4},
    "cohere": {},
    "cohere2": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
    "ctrl": _GPT | {"dff": 24},
    "dbrx": {
        "d_model": 16,
        "n_heads": 2,
        "n_layers": 2,
        "max_seq_len": 128,
        "attn_config": {"kv_n_heads": 1, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 24},
    },
    "deepseek_v2": EXPERTS | _MLA,
    "deepseek_v3": EXPERTS | _MLA | {"head_dim": 4},
    "diffllama": _WHOLE,
    "doge": {},
    "dots1": EXPERTS | {"first_k_dense_replace": 1, "n_shared_experts": 1},
    "ernie4_5": {},
    "ernie4_5_moe": EXPERTS | {"moe_num_experts": 4, "moe_k": 2},
    "exaone4": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
    "falcon": {"alibi": False, "head_dim": NO_SUCH},
    "falcon_h1": _HEADS | {"mamba_expand": 2, "mamba_d_ssm": 32},
    "falcon_mamba": _STATE,
    "flex_olmo": EXPERTS,
    "gemma": {},
    "gemma2": {"sliding_window": 6, "query_pre_attn_scalar": 8},
    "glm": {"partial_rotary_factor": 0.5},
    "glm4": {"partial_rotary_factor": 0.5},
    "glm4_moe": EXPERTS | {"first_k_dense_replace": 1, "n_shared_experts": 1},
    "gpt2": _GPT,
    "gpt_bigcode": _GPT,
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "num_heads": 2, "window_size": 4},
    "gpt_neox": _WHOLE,
    "gptj": _GPT | {"rotary_dim": 4},
    "granitemoe": EXPERTS,
    "granitemoehybrid": EXPERTS | _HEADS | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 8},
    "granitemoeshared": EXPERTS | {"shared_intermediate_size": 8},
    "helium": {},
    "hunyuan_v1_dense": {},
    "hunyuan_v1_moe": EXPERTS | {"moe_topk": 2},
    "jamba": {
        "mamba_d_state": 4,
        "attn_layer_offset": 0,
        "attn_layer_period": 2,
        "expert_layer_offset": 0,
        "expert_layer_period": 2,
        "num_experts": 2,
        "use_mamba_kernels": False,
    },
    "jetmoe": EXPERTS | {"kv_channels": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "mamba": _STATE,
    "mamba2": _STATE | {"num_heads": 4, "head_dim": 8, "expand": 2, "n_groups": 1, "chunk_size": 4},
    "minimax": EXPERTS | {"layer_types": ["full_attention", "linear_attention"], "block_size": 4},
    "mpt": {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 128},
    "nemotron": {},
    "olmo": {},
    "olmo3": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]},
    "olmoe": EXPERTS,
    "openai-gpt": _GPT,
    "opt": {"ffn_dim": 24, "word_embed_proj_dim": 16},
    "persimmon": _WHOLE,
    "phi": {},
    "phimoe": EXPERTS,
    "qwen2_moe": EXPERTS | {"shared_expert_intermediate_size": 8},
    "qwen3_next": EXPERTS
    | {
        "layer_types": ["linear_attention", "full_attention"],
        "shared_expert_intermediate_size": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "recurrent_gemma": {"num_hidden_layers": 3, "intermediate_size": 48, "lru_width": 16, "attention_window_size": 8},
    "rwkv": {"attention_hidden_size": 16, "context_length": 64},
    "seed_oss": {},
    "stablelm": {},
    "starcoder2": {},
    "xglm": {"d_model": 16, "ffn_dim": 24, "num_layers": 2, "attention_heads": 2},
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24, "max_position_embeddings": NO_SUCH},
    "xlstm": {"embedding_dim": 16, "num_heads": 2, "num_blocks": 2},
    "zamba2": {
        "mamba_d_state": 4,
        "n_mamba_heads": 4,
        "mamba_headdim": 8,
        "mamba_ngroups": 1,
        "num_mem_blocks": 1,
        "mamba_expand": 2,
        "chunk_size": 4,
        "layers_block_type": ["mamba", "hybrid"],
        "hybrid_layer_ids": [1],
    },
}
FAMILIES = EVERY_DAY | OTHERS


def build(family: str, *, seed: int):
    """A pico-model of a family, in evaluation mode, in fp32."""
    torch.manual_seed(seed)
    settings = {name: value for name, value in (SHAPE | FAMILIES[family]).items() if value is not NO_SUCH}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
    return model.float().eval()


def row_modules(model) -> list[str]:
    """The names of linear layers that see tokens by rows, wherever they stand: what a preference per row can adapt."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    seen: dict[str, bool] = {}

    def note(name):
        def hook(module, inputs, output):
            short = name.rpartition(".")[2]
            seen[short] = seen.get(short, True) and inputs[0].ndim == 3 and len(inputs[0]) == 2

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in linear.items() if name != "lm_head"]
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 6, 7], [8, 9, 10]]), use_cache=False)
    for hook in hooks:
        hook.remove()
    head = model.get_output_embeddings()
    heads = {name.rpartition(".")[2] for name, module in linear.items() if module is head}
    return sorted(name for name, rows in seen.items() if rows and name not in heads)[:4]
