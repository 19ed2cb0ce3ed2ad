"""Does drafting make guided decoding of a large base as quick as the base alone?

Qwen2.5-Coder-1.5B-Instruct in bf16, guided at β = 1 by an ARM trained on the 0.5B model (recipes/qwen_bases.sh, then
recipes/qwen_arm.yaml), on people's messages. Tokens per second over those of the base unguided, by prompt.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from transformers import set_seed

from benchmarks.accuracy import DATA
from benchmarks.goals import Goal, report
from benchmarks.timing import median_ratio
from hf_prosocial import Preference, ProSocialProcessor, SpeculativeGuidedModel, load_arm
from hf_prosocial.models import find_base

FOLDER, RECORD = Path("runs/qwen"), Path("records/speculation.json")
PREFERENCE = Preference(empathy=0.5, helpfulness=0.5)
PROMPTS, TOKENS = 4, 48


def run() -> bool:
    base, _ = find_base(FOLDER / "1.5b").load(torch.bfloat16)
    # The two files carry different chat templates; the ARM was trained with this one.
    small, tokenizer = find_base(FOLDER / "0.5b").load(torch.bfloat16)
    arm = load_arm(FOLDER / "arm", small, tokenizer=tokenizer)
    processor = ProSocialProcessor(arm, PREFERENCE, tokenizer=tokenizer)
    models = {count: SpeculativeGuidedModel(base, arm, PREFERENCE, draft_tokens=count) for count in (1, 2, 3, 4)}
    ways: dict[str, Callable[..., Any]] = {
        "base, unguided": base.generate,
        "guided, two models": lambda **options: base.generate(logits_processor=[processor], **options),
    }
    ways |= {f"guided, {count} drafted": model.generate for count, model in models.items()}
    rows = []
    for name, sampling in (("greedy", {"do_sample": False}), ("sampled", {"do_sample": True, "top_k": 0})):
        rows += measure(name, ways, models, list(prompts(tokenizer)), sampling)
    RECORD.write_text(json.dumps(rows, indent=1) + "\n")
    best = {mode: max(row["rate"] for row in rows if row["mode"] == mode and "drafted" in row["way"]) for mode in MODES}
    return report(
        "speculation",
        [Goal(f"guided tokens per second over the unguided base's, {mode}", best[mode], ">= 1.0") for mode in MODES],
    )


MODES = ("greedy", "sampled")


def prompts(tokenizer: Any) -> Any:
    """People's messages as chats, short ones first left out."""
    lines = (DATA / "support" / "dev.jsonl").read_text().splitlines()
    for line in lines[:PROMPTS]:
        prompt = json.loads(line)["prompt"]
        chat = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        yield tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)


def measure(
    mode: str,
    ways: dict[str, Callable[..., Any]],
    models: dict[int, SpeculativeGuidedModel],
    inputs: list[Any],
    sampling: dict[str, Any],
) -> list[dict[str, Any]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    texts: dict[str, list[list[int]]] = {name: [] for name in ways}
    accepted: dict[str, list[float]] = {name: [] for name in ways}
    for prompt in inputs:
        for name, generate in ways.items():
            set_seed(0)
            begin = time.perf_counter()
            output = generate(**prompt, min_new_tokens=TOKENS, max_new_tokens=TOKENS, **sampling)
            seconds[name].append(time.perf_counter() - begin)
            texts[name].append(output[0, prompt["input_ids"].shape[1] :].tolist())
            for count, model in models.items():
                if name == f"guided, {count} drafted":
                    accepted[name].append(model.acceptance_rate)
    rows = []
    for name in ways:
        rate = median_ratio(seconds["base, unguided"], seconds[name])
        share = mean(accepted[name]) if accepted[name] else None
        same = [one == other for one, other in zip(texts[name], texts["guided, two models"], strict=True)]
        rows.append(
            {"mode": mode, "way": name, "rate": rate, "accepted": share, "same_text": sum(same), "prompts": len(same)}
        )
        shown = "" if share is None else f"{share:.2f}"
        note = f"{sum(same)} of {len(same)}" if mode == "greedy" and "guided" in name else ""
        per_token = 1e3 * sum(seconds[name]) / (TOKENS * len(inputs))
        print(f"| {mode} | {name} | {per_token:.0f} ms a token | {rate:.2f} | {shown} | {note} |", flush=True)
    return rows
