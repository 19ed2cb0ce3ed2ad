"""Bases and ARMs for servers, requests at random, and what GuidedModel says to them."""

import random

import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LogitsProcessorList, Qwen3Config

from hf_prosocial import (
    OBJECTIVES,
    GuidedModel,
    PBLoraConfig,
    Preference,
    ProSocialProcessor,
    find_base,
    load_arm,
)
from hf_prosocial.arm.base_record import record_base
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.serving import GuidedRequest

from .models import BOS, VOCABULARY, randomise, tiny_tokenizer

TOKENS = 12
# vLLM's attention on a processor takes heads of 32 and more.
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
CONFIGS = {"llama": LlamaConfig(**SHAPE), "qwen3": Qwen3Config(**SHAPE), "small": LlamaConfig(**(SHAPE | SMALL))}
TARGETS = {
    "llama": ["q_proj", "k_proj", "v_proj"],
    "qwen3": ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"],
    "small": ["q_proj", "k_proj", "v_proj"],
}
DEFAULT = GuidedRequest(Preference(empathy=0.75, helpfulness=0.25), beta=2.0)


def build_base(folder, kind, seed=0):
    """A directory of a random base and its tokenizer."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind]).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def build_arm(folder, base, kind, seed=3):
    """A directory of a random ARM of that base."""
    model, tokenizer = find_base(base).load(torch.float32)
    arm = get_peft_model(model, PBLoraConfig(target_modules=TARGETS[kind], task_type="CAUSAL_LM", r1=2, r2=3))
    randomise(arm, seed)
    record_base(arm.active_peft_config, arm, tokenizer, str(base))
    arm.save_pretrained(str(folder))
    return folder


def drawn(count, seed):
    """Requests with preferences, strengths, safe sets, lengths and beginnings at random."""
    generator = random.Random(seed)
    begin = [BOS, *(generator.randrange(3, VOCABULARY) for _ in range(64))]
    found = []
    for _ in range(count):
        ids = begin[: generator.choice((1, 40, 65))]
        ids = [*ids, *(generator.randrange(3, VOCABULARY) for _ in range(generator.randrange(1, 30)))]
        weights = [generator.random() for _ in OBJECTIVES]
        preference = Preference.from_dict(dict(zip(OBJECTIVES, weights, strict=True)), normalize=True)
        request = GuidedRequest(preference, generator.choice((0, 0.3, 1.0, 2.0)), generator.choice((None, None, 0.05)))
        found.append((ids, request))
    return found


def as_fields(request):
    """Without what is None, which vLLM's HTTP fields do not take."""
    return {name: value for name, value in request.fields().items() if value is not None}


def served(llm, requests):
    """Tokens of an engine's replies."""
    from vllm import SamplingParams

    parameters = [
        SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, extra_args=as_fields(one))
        for _, one in requests
    ]
    prompts = [{"prompt_token_ids": ids} for ids, _ in requests]
    return [list(one.outputs[0].token_ids) for one in llm.generate(prompts, parameters, use_tqdm=False)]


def expected(made, requests, arm_base=None, vector=None):
    """Tokens of a GuidedModel's; or, where the ARM has another base, of a processor's."""
    base, _ = find_base(made[0]).load(torch.float32)
    arm = load_arm(made[1], base if arm_base is None else find_base(arm_base).load(torch.float32)[0])
    options = {"max_new_tokens": TOKENS, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    opened = None if vector is None else GatedHarmVector.from_pretrained(vector)
    found = []
    for ids, one in requests:
        strength, harm = {"beta": one.beta, "safe_set": one.safe_set}, {}
        if opened is not None and arm_base is None:
            strength["harm_vector"], harm = opened, {"harm_scales": torch.tensor([one.harm_scale])}
        with torch.no_grad():
            if arm_base is None:
                guided, more = GuidedModel(base, arm, one.preference, **strength), harm
            else:
                processor = ProSocialProcessor(arm, one.preference, **strength)
                guided, more = base, {"logits_processor": LogitsProcessorList([processor])}
            found.append(guided.generate(torch.tensor([ids]), **options, **more)[0, len(ids) :].tolist())
    return found
