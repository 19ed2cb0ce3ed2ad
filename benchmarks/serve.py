"""What a preference for each request costs in vLLM, on a processor, and whether every reply is its own.

Runs in the environment of `make test-serve`: `.venv-serve/bin/python -m benchmarks serve`. SmolLM2-135M-Instruct in
fp32 with the released ARM, beside the same engine without it: seconds of the processor for 24 tokens after a prompt of
50, their prefill included. Then 200 requests with preferences, strengths, safe sets, lengths and shared beginnings at
random, against `GuidedModel`; where tokens part, the two best there must be within 1e-3.
"""

import os
import random
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.goals import Goal, report
from benchmarks.timing import median_ratio
from hf_prosocial import OBJECTIVES, GuidedModel, Preference, find_base, load_arm, released_arm
from hf_prosocial.serving import GuidedRequest, vllm_arguments, vllm_settings

PROMPT, TOKENS, REPEATS = 50, 24, 5
REQUESTS, SEED, NEAR = 200, 0, 1e-3
Request = tuple[list[int], GuidedRequest]


def run() -> bool:
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "0"  # One thread: waiting ones would be counted too.
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM

    default = GuidedRequest(Preference.uniform())
    checkpoint, settings = vllm_settings(None, released_arm(), default)
    options: dict[str, Any] = {"dtype": "float32", "block_size": 32, "max_model_len": 512}
    plain = LLM(checkpoint, enable_prefix_caching=False, enforce_eager=True, **options)
    ours = vllm_arguments(settings)
    guided = LLM(checkpoint, enable_prefix_caching=False, **ours, **options)
    ratios = {rows: _ratio(plain, guided, rows) for rows in (1, 8)}
    cached = LLM(checkpoint, enable_prefix_caching=True, **ours, **options)
    requests = _drawn()
    wrong = _wrong(requests, _replies(cached, requests)) + _wrong(requests, _replies(cached, requests))
    goals = [
        Goal("processor's time over the base's, 1 sequence", ratios[1], "<= 1.35"),
        Goal("processor's time over the base's, 8 sequences", ratios[8], "<= 1.7"),
        Goal(f"replies of another preference, of {2 * REQUESTS} (seed {SEED})", wrong, "<= 0"),
    ]
    return report("serve", goals)


def _ratio(plain: Any, guided: Any, rows: int) -> float:
    """In turn, by the processor's time, which other programs do not lengthen."""
    generator = random.Random(rows)
    prompts = [[generator.randrange(100, 40000) for _ in range(PROMPT)] for _ in range(rows)]
    tasks = {
        "plain": lambda: _generated(plain, prompts, [{}] * rows, TOKENS),
        "guided": lambda: _generated(guided, prompts, [{"preference": "empathy=1"}] * rows, TOKENS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for repeat in range(REPEATS + 1):
        for name, task in tasks.items():
            taken = _processor_seconds(task)
            if repeat:
                seconds[name].append(taken)
    return median_ratio(seconds["guided"], seconds["plain"])


def _processor_seconds(task: Callable[[], object]) -> float:
    begin = time.process_time()
    task()
    return time.process_time() - begin


def _generated(llm: Any, prompts: list[list[int]], fields: list[dict[str, Any]], tokens: int) -> list[list[int]]:
    from vllm import SamplingParams

    parameters = [
        SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, extra_args=one or None) for one in fields
    ]
    found = llm.generate([{"prompt_token_ids": ids} for ids in prompts], parameters, use_tqdm=False)
    return [list(one.outputs[0].token_ids) for one in found]


def _drawn() -> list[Request]:
    generator = random.Random(SEED)
    begin = [generator.randrange(100, 40000) for _ in range(64)]
    found = []
    for _ in range(REQUESTS):
        own = [generator.randrange(100, 40000) for _ in range(generator.randrange(1, 40))]
        weights = [generator.random() for _ in OBJECTIVES]
        preference = Preference.from_dict(dict(zip(OBJECTIVES, weights, strict=True)), normalize=True)
        strength = generator.choice((0, 0.3, 1.0, 2.0)), generator.choice((None, None, 0.05))
        found.append(([*begin[: generator.choice((0, 33, 64))], *own], GuidedRequest(preference, *strength)))
    return found


def _replies(llm: Any, requests: list[Request]) -> list[list[int]]:
    return _generated(llm, [ids for ids, _ in requests], [one.fields() for _, one in requests], TOKENS)


def _wrong(requests: list[Request], replies: list[list[int]]) -> int:
    """How many replies part from GuidedModel's where its two best tokens are apart."""
    base, _ = find_base().load(torch.float32)
    arm, wrong = load_arm(released_arm(), base), 0
    for (ids, one), reply in zip(requests, replies, strict=True):
        guided = GuidedModel(base, arm, one.preference, beta=one.beta, safe_set=one.safe_set)
        with torch.no_grad():
            scores = guided(torch.tensor([[*ids, *reply]])).logits[0, len(ids) - 1 : -1]
        taken = scores.gather(1, torch.tensor(reply)[:, None])[:, 0]
        wrong += bool((scores.amax(1) - taken > NEAR).any())
    return wrong
