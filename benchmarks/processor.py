"""What guidance costs: a guided step, PBLoRA's forward, a preference per row, and growth with length.

Ratios within one run, medians over repeats in turn, SmolLM2-135M-Instruct in fp32.
"""

from statistics import median
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from benchmarks.goals import Goal, report
from benchmarks.timing import in_turn, median_ratio
from hf_prosocial import Preference, ProSocialProcessor, load_arm
from hf_prosocial.assets import released_arm
from hf_prosocial.models import CACHE, find_base, sharing_weights

UNIFORM = Preference.uniform()
REPEATS = 40


class Steps:
    """Decoding steps of a model along fixed rows of ids, one token a step, with a cache that grows."""

    def __init__(self, model: Any, ids: Tensor, length: int) -> None:
        self.model, self.ids, self.length = model, ids, length
        self.cache = DynamicCache(config=model.config)
        with torch.no_grad():
            model(ids[:, :length], use_cache=True, logits_to_keep=1, **{CACHE: self.cache})

    def step(self) -> Tensor:
        self.length += 1
        token = self.ids[:, self.length - 1 : self.length]
        with torch.no_grad():
            logits = self.model(token, use_cache=True, logits_to_keep=1, **{CACHE: self.cache}).logits
        return logits[:, -1]


def random_ids(rows: int, length: int) -> Tensor:
    return torch.randint(10, 40_000, (rows, length), generator=torch.Generator().manual_seed(length + rows))


def guided_step(base: PreTrainedModel, arm: Any, rows: int, length: int = 128) -> float:
    """A guided step over a base step plus an ARM step, from `length` tokens on."""
    ids = random_ids(rows, length + REPEATS + 1)
    arm.set_preference(UNIFORM)
    guided_steps, base_steps, arm_steps = (Steps(model, ids, length) for model in (base, base, arm))
    processor = ProSocialProcessor(arm, UNIFORM)
    processor(ids[:, :length], torch.zeros(rows, base.config.vocab_size))

    def guided() -> Tensor:
        scores = guided_steps.step()
        return processor(ids[:, : guided_steps.length], scores)

    seconds = in_turn({"guided": guided, "base": base_steps.step, "ARM": arm_steps.step}, REPEATS)
    sums = [one + other for one, other in zip(seconds["base"], seconds["ARM"], strict=True)]
    ratio = median_ratio(seconds["guided"], sums)
    shown = ", ".join(f"{name} {1e3 * median(values):.1f} ms" for name, values in seconds.items())
    print(f"| guided step / (base + ARM), {rows} rows, {length} tokens | {ratio:.3f} | {shown} |", flush=True)
    return ratio


def guided_prompts(base: PreTrainedModel, arm: Any, rows: int = 32, length: int = 64) -> float:
    """Reading prompts up to their first guided token, over the base's first token."""
    ids = random_ids(rows, length)
    options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 1, "do_sample": False}
    generate: Any = base.generate

    def guided() -> Any:
        return generate(ids, logits_processor=[ProSocialProcessor(arm, UNIFORM)], **options)

    seconds = in_turn({"guided": guided, "base": lambda: generate(ids, **options)}, 5)
    ratio = median_ratio(seconds["guided"], seconds["base"])
    shown = ", ".join(f"{name} {1e3 * median(values):.0f} ms" for name, values in seconds.items())
    print(f"| first guided token / the base's, {rows} prompts of {length} tokens | {ratio:.3f} | {shown} |", flush=True)
    return ratio


def forward_against_lora(base: PreTrainedModel, arm: Any, rows: int) -> float:
    """PBLoRA's decoding step over the step of PEFT's own LoRA of the same rank."""
    config = arm.active_peft_config
    lora = get_peft_model(
        sharing_weights(base), LoraConfig(r=config.rank, lora_alpha=16, target_modules=config.target_modules)
    ).eval()
    arm.set_preference(UNIFORM)
    ids = random_ids(rows, 64 + REPEATS + 1)
    seconds = in_turn({"PBLoRA": Steps(arm, ids, 64).step, "LoRA": Steps(lora, ids, 64).step}, REPEATS)
    ratio = median_ratio(seconds["PBLoRA"], seconds["LoRA"])
    shown = ", ".join(f"{name} {1e3 * median(values):.1f} ms" for name, values in seconds.items())
    print(f"| PBLoRA step / PEFT LoRA step, rank {config.rank}, {rows} rows | {ratio:.3f} | {shown} |", flush=True)
    return ratio


def preferences_per_row(arm: Any) -> float:
    """64 rows under 64 preferences over the same rows under one."""
    ids = random_ids(64, 16)
    steps = PreferencesPerRow(arm, ids)
    seconds = in_turn({"different": steps.different, "one": steps.one}, 12)
    ratio = median_ratio(seconds["different"], seconds["one"])
    print(f"| 64 preferences / one preference, 64 rows of 16 tokens | {ratio:.3f} | |")
    return ratio


class PreferencesPerRow:
    """A forward pass of the same rows, under as many preferences or under one."""

    def __init__(self, arm: Any, ids: Tensor) -> None:
        self.arm, self.ids = arm, ids
        self.weights = torch.stack([Preference.sample(seed=seed).tensor() for seed in range(len(ids))])

    def different(self) -> None:
        self._forward(self.weights)

    def one(self) -> None:
        self._forward(self.weights[0])

    def _forward(self, weights: Tensor) -> None:
        self.arm.set_preference(weights)
        with torch.no_grad():
            self.arm(self.ids, logits_to_keep=1, use_cache=False)


def growth_with_length(base: PreTrainedModel, arm: Any) -> float:
    """Growth of the guided step's cost from 64 to 1,024 tokens, over the growth of the two models' own steps."""
    return guided_step(base, arm, 1, length=1024) / guided_step(base, arm, 1, length=64)


def run() -> bool:
    model, tokenizer = find_base().load(torch.float32)
    arm = load_arm(released_arm(), model, tokenizer=tokenizer)
    print(f"SmolLM2-135M-Instruct, fp32, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("| figure | ratio | medians |\n|---|---|---|")
    goals = [Goal(f"guided step over base + ARM, {n} rows", guided_step(model, arm, n), "<= 1.05") for n in (1, 8)]
    goals.append(Goal("first guided token over the base's, 32 prompts", guided_prompts(model, arm), "<= 2.2"))
    goals += [
        Goal(f"PBLoRA forward over PEFT LoRA, {n} rows", forward_against_lora(model, arm, n), "<= 1.15") for n in (1, 8)
    ]
    goals.append(Goal("64 preferences over one, 64 rows", preferences_per_row(arm), "<= 1.10"))
    goals.append(
        Goal("growth of a step beyond attention's own, 64 to 1,024 tokens", growth_with_length(model, arm), "<= 1.05")
    )
    return report("processor", goals)
