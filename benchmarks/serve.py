"""What a preference for each request costs in vLLM, on a processor, and whether every reply is its own.

Runs in the environment of `make test-serve`: `.venv-serve/bin/python -m benchmarks serve`. SmolLM2-135M-Instruct in
fp32 with the released ARM, beside the same engine without it: seconds of the processor for 24 tokens after a prompt of
50, their prefill included. Then 200 requests with preferences, strengths, safe sets, lengths and shared beginnings at
random, which arrive at random, against two plain passes of transformers in float64: tokens, and log-probabilities
beside what two plain passes in fp32 are off by. The same requests in other engines must give the same tokens.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.goals import Goal, report
from benchmarks.serve_requests import SEED, Judge, Request, drawn, fields_of
from benchmarks.timing import median_ratio
from hf_prosocial import Preference, released_arm
from hf_prosocial.serving import GuidedRequest, vllm_arguments, vllm_settings

ROOT = Path(__file__).parent.parent
PROMPT, TOKENS, REPEATS = 50, 24, 5
REQUESTS = 200
ENGINE = "PROSOCIAL_BENCHMARK_ENGINE"
"""Of a process that only prints the replies of one of `ENGINES`."""
OPTIONS: dict[str, Any] = {"dtype": "float32", "block_size": 32, "max_model_len": 256}
ENGINES: dict[str, dict[str, Any]] = {
    "chunked prefill": {"max_num_batched_tokens": 256, "max_num_seqs": 5, "long_prefill_token_threshold": 24},
    "14 blocks": {"num_gpu_blocks_override": 14},
    "tensor parallel 3": {"tensor_parallel_size": 3},
}
Reply = tuple[list[int], list[float]]


def run() -> bool:
    if ENGINE in os.environ:
        return _other(os.environ[ENGINE])
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "0"  # One thread: waiting ones would be counted too.
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM

    checkpoint, arguments = _guided()
    options = OPTIONS | {"enable_prefix_caching": False}
    ratios, engines = {}, []  # All are kept: an engine that is let go takes the others' groups of processes with it.
    for mode, eager in (("compiled", False), ("eager", True)):
        both = options | {"enforce_eager": eager}
        plain, guided = LLM(checkpoint, **both), LLM(checkpoint, **arguments, **both)
        engines += [plain, guided]
        ratios |= {(mode, rows): _ratio(plain, guided, rows) for rows in (1, 8)}
    requests = drawn(REQUESTS)
    unguided = [(ids, one) for ids, one in requests if one.beta == 0 and one.safe_set is None]
    both = zip(_replies(plain, unguided, is_plain=True), _replies(guided, unguided), strict=True)
    others = sum(one[0] != two[0] for one, two in both)
    llm = LLM(checkpoint, **arguments, **OPTIONS)
    first, second = _arriving(llm, requests), _replies(llm, requests)  # The second time from cached blocks.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))  # The engine had bound this process to one core.
    torch.set_num_threads(os.cpu_count() or 1)
    judge = Judge()
    for request, (tokens, log_probs) in zip(requests, first, strict=True):
        judge.look(request, tokens, log_probs)
    parted = judge.parted
    again = sum(not judge.look(one, tokens, None) for one, (tokens, _) in zip(requests, second, strict=True))
    goals = [
        *(
            Goal(
                f"processor's time over the base's, {rows} sequences, {mode}",
                ratio,
                "<= 1.35" if rows == 1 else "<= 1.7",
            )
            for (mode, rows), ratio in ratios.items()
        ),
        Goal(f"replies of another preference, of {REQUESTS} that arrive at random (seed {SEED})", parted, "<= 0"),
        Goal("the same from cached blocks", again, "<= 0"),
        Goal(
            "error of log-probabilities over that of two plain passes", judge.served_error / judge.plain_error, "<= 2"
        ),
        Goal(f"replies that are not the plain engine's, of {len(unguided)} unguided", others, "<= 0"),
    ]
    wrong = {name: _in_own_process(name, requests, judge) for name in ENGINES}
    goals += [Goal(f"replies of another preference: {name}", count, "<= 0") for name, count in wrong.items()]
    print(f"log-probabilities: vLLM {judge.served_error:.2e}, two plain passes {judge.plain_error:.2e} from float64")
    return report("serve", goals)


def _guided() -> tuple[str, dict[str, Any]]:
    checkpoint, settings = vllm_settings(None, released_arm(), GuidedRequest(Preference.uniform()))
    os.environ["PROSOCIAL_SERVING"] = json.dumps(settings)
    return checkpoint, vllm_arguments(settings)


def _in_own_process(name: str, requests: list[Request], judge: Judge) -> int:
    """How many replies are not their request's own, in an engine with other options."""
    environment = os.environ | {ENGINE: name, "VLLM_CPU_OMP_THREADS_BIND": "0|1|1" if "parallel" in name else "0"}
    command = [sys.executable, "-m", "benchmarks", "serve"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    if found.returncode:
        raise RuntimeError(found.stderr[-3000:])
    replies = json.loads(found.stdout.splitlines()[-1])
    return sum(not judge.look(one, tokens, None) for one, tokens in zip(requests, replies, strict=True))


def _other(name: str) -> bool:
    """Print the replies of an engine with other options, as JSON."""
    os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_KVCACHE_SPACE": "1"}
    from vllm import LLM

    checkpoint, arguments = _guided()
    llm = LLM(checkpoint, **arguments, **OPTIONS, **ENGINES[name])
    print(json.dumps([tokens for tokens, _ in _replies(llm, drawn(REQUESTS))]))
    return True


def _ratio(plain: Any, guided: Any, rows: int) -> float:
    """In turn, by the processor's time, which other programs do not lengthen."""
    generator = random.Random(rows)
    request = GuidedRequest(Preference.one_hot("empathy"))
    requests = [([generator.randrange(100, 40000) for _ in range(PROMPT)], request) for _ in range(rows)]
    tasks = {
        "plain": lambda: _replies(plain, requests, is_plain=True),
        "guided": lambda: _replies(guided, requests),
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


def _replies(llm: Any, requests: list[Request], is_plain: bool = False) -> list[Reply]:
    """All at once; a plain engine takes no preferences."""
    prompts = [{"prompt_token_ids": ids} for ids, _ in requests]
    found = llm.generate(prompts, [_parameters(one, is_plain) for _, one in requests], use_tqdm=False)
    return [_reply(one) for one in found]


def _arriving(llm: Any, requests: list[Request]) -> list[Reply]:
    """Each after a random number of steps."""
    generator, engine, done = random.Random(SEED), llm.llm_engine, dict[str, Any]()

    def step() -> None:
        done.update({one.request_id.partition("-")[0]: one for one in engine.step() if one.finished})

    for index, (ids, one) in enumerate(requests):
        engine.add_request(str(index), {"prompt_token_ids": ids}, _parameters(one, False))
        for _ in range(generator.choice((0, 0, 0, 1, 5))):
            step()
    while engine.has_unfinished_requests():
        step()
    return [_reply(done[str(index)]) for index in range(len(requests))]


def _parameters(request: GuidedRequest, is_plain: bool) -> Any:
    from vllm import SamplingParams

    fields = None if is_plain else fields_of(request)
    return SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, logprobs=0, extra_args=fields)


def _reply(found: Any) -> Reply:
    tokens = list(found.outputs[0].token_ids)
    return tokens, [one[token].logprob for one, token in zip(found.outputs[0].logprobs, tokens, strict=True)]
