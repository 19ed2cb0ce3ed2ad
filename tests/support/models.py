"""Pico-models of each family that the decoder must be right on, with weights large enough to have opinions."""

import torch
from peft import get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers import decoders as token_decoders
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from hf_prosocial.pblora import PBLoraConfig

VOCABULARY = 61
PAD, BOS, EOS = 0, 1, 2
FAMILIES = ("llama", "gpt2", "qwen2", "gemma3", "mixtral")

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}


def config_of(family):
    if family == "llama":
        return LlamaConfig(**SHAPE)
    if family == "qwen2":
        return Qwen2Config(**SHAPE)
    if family == "gemma3":
        layers = ["sliding_attention", "full_attention"]
        return Gemma3TextConfig(**SHAPE, sliding_window=6, layer_types=layers, query_pre_attn_scalar=8)
    if family == "mixtral":
        return MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2)
    special = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    return GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=128, **special)


def random_base(family, *, seed, dtype=torch.float32):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(family))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.3)
    return model.to(dtype).eval()


def random_arm(family, *, seed, dtype=torch.float32, base=None, objectives=None, r1=2, r2=3, dropout=0.0):
    base = random_base(family, seed=seed, dtype=dtype) if base is None else base
    targets = ["c_attn"] if family == "gpt2" else ["q_proj", "k_proj", "v_proj"]
    shape = {"r1": r1, "r2": r2, "lora_dropout": dropout}
    config = PBLoraConfig(objectives=objectives, target_modules=targets, task_type="CAUSAL_LM", **shape)
    arm = get_peft_model(base, config)
    randomise(arm, seed)
    return arm.eval()


def randomise(arm, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in arm.named_parameters():
            if "pblora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)


def tiny_tokenizer():
    """One token a character, with SmolLM2's way of chatting."""
    characters = sorted(set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM .,?!'\n"))
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", *characters]
    assert len(tokens) <= VOCABULARY
    tokens += [f"<extra{index}>" for index in range(VOCABULARY - len(tokens))]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = token_decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["user", "assistant"],
        padding_side="left",
    )
    fast.chat_template = (
        "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    )
    return fast
