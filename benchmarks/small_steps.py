"""A guided step of a small model, where the adapter's overhead weighs most: random Llama, hidden size 256, 8 layers."""

import time
import warnings
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, StoppingCriteria

from benchmarks.goals import Goal, report
from benchmarks.timing import median_ratio
from hf_prosocial import GuidedModel, PBLoraConfig, Preference, ProSocialProcessor
from hf_prosocial.models import sharing_weights

CONFIG = LlamaConfig(
    vocab_size=8192,
    hidden_size=256,
    intermediate_size=688,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=8,
    max_position_embeddings=1024,
    pad_token_id=0,
)
PROMPT, TOKENS, REPEATS, SEED = 64, 48, 12, 0
GOAL = 2.2


def run() -> bool:
    warnings.filterwarnings("ignore", category=FutureWarning)
    before, goals = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for rows in (1, 4):
            goals += [
                Goal(f"{name}, {rows} rows, {threads} threads", ratio, f"<= {GOAL}")
                for name, ratio in _ratios(rows).items()
            ]
    torch.set_num_threads(before)
    return report("small_steps", goals)


def _ratios(rows: int) -> dict[str, float]:
    """Guided steps over the plain base's, inside `generate`, in turn."""
    torch.manual_seed(SEED)
    base: Any = AutoModelForCausalLM.from_config(CONFIG).eval()
    config = PBLoraConfig(target_modules=["q_proj", "k_proj", "v_proj"], task_type="CAUSAL_LM", r1=4, r2=4)
    arm: Any = get_peft_model(sharing_weights(base), config).eval()
    ids = torch.randint(10, CONFIG.vocab_size, (rows, PROMPT))
    processor = ProSocialProcessor(arm, Preference.uniform())
    guided_model = GuidedModel(base, arm, Preference.uniform())
    tasks = {
        "base": lambda: _step(base, ids),
        "ProSocialProcessor": lambda: _step(base, ids, [processor]),
        "GuidedModel": lambda: _step(guided_model, ids),
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(REPEATS + 1):
        for name, task in tasks.items():
            found = task()
            if repeat:
                seconds[name].append(found)
    return {name: median_ratio(seconds[name], seconds["base"]) for name in list(tasks)[1:]}


def _step(model: Any, ids: Tensor, processors: list[Any] | None = None) -> float:
    """Seconds of the median step of one generation, the prompt's own left out."""
    clock = _Clock()
    options = {"max_new_tokens": TOKENS, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    mask = torch.ones_like(ids)
    model.generate(ids, attention_mask=mask, logits_processor=processors, stopping_criteria=[clock], **options)
    return median(later - one for one, later in pairwise(clock.times[1:]))


class _Clock(StoppingCriteria):
    """When each token was there; stops nothing."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Called by generate after each token. (transformers fixes this signature.)"""
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool)
