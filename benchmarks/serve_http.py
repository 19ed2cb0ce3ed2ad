"""A server under malformed requests, and under full load for 20 minutes, on a processor.

Runs in the environment of `make test-serve`: `.venv-serve/bin/python -m benchmarks serve_http`. The server is what
`prosocial serve` starts, in fp32, for SmolLM2-135M-Instruct and the released ARM. 1,000 malformed preferences at
random, by each of which HTTP 400 with a sentence must be answered; then eight clients without a pause, each of whose
replies is compared with what two plain passes of transformers say, and the memory of the server's processes.
"""

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from openai import APIStatusError, OpenAI

from benchmarks.goals import Goal, report
from benchmarks.serve_requests import SEED, Judge, drawn, fields_of

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.servers import free_port, started

MALFORMED, CLIENTS, MINUTES, TOKENS = 1000, 8, 20, 16
DISTINCT = 200
"""Requests of the load, which come again and again, so that each reply can be compared."""
START = "from hf_prosocial.cli import app; app()"


def run() -> bool:
    port, flags = free_port(), ["--dtype", "float32", "--block-size", "32", "--max-model-len", "256"]
    flags += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "guided"]
    base = "HuggingFaceTB/SmolLM2-135M-Instruct"
    command = [sys.executable, "-c", START, "serve", base, "--engine", "vllm", "--", *flags]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    with TemporaryDirectory() as folder, started(command, port, Path(folder) / "log", 600, **environment) as url:
        client = OpenAI(base_url=url, api_key="none", max_retries=0, timeout=300)
        goals = _malformed(client)
        load = Load(client)
        load.run()
    return report("serve_http", [*goals, *load.goals()])


def _malformed(client: OpenAI) -> list[Goal]:
    generator, found = random.Random(SEED), Counter[str]()
    for _ in range(MALFORMED):
        fields = _wrong(generator)
        body = {"model": "guided", "prompt": [100, 200, 300], "max_tokens": 1, "vllm_xargs": fields}
        # As text, for a client of OpenAI's sends no number that is none.
        answer = httpx.post(f"{client.base_url}completions", content=json.dumps(body), timeout=300)
        is_refused = answer.status_code == 400 and len(answer.text) > 50
        kind = "answered" if answer.status_code == 200 else "refused" if is_refused else "other"
        found[kind] += 1
        if kind != "refused":
            print(f"{answer.status_code} {answer.text[:300]}: {fields}", file=sys.stderr)
    _asked(client, [100, 200, 300], {"beta": 1.0})  # It is still there.
    return [
        Goal(f"malformed requests answered, of {MALFORMED} (seed {SEED})", found["answered"], "<= 0"),
        Goal("malformed requests not refused by 400 and a sentence", found["other"], "<= 0"),
    ]


def _wrong(generator: random.Random) -> dict[str, Any]:
    """One malformed preference, strength, safe set or field."""
    share = round(generator.random() * 0.9, 3)
    text = "".join(chr(generator.randrange(1, 0x2FF)) for _ in range(generator.randrange(1, 30)))
    injections = ("empathy=1;import os", "empathy=1 OR 1=1", "__import__('os')", "{{7*7}}", "empathy=1\x00", "$(id)")
    wrong: list[dict[str, Any]] = [
        {"preference": f"empathy={share}"},
        {"preference": f"empathy=1,helpfulness={share + 0.05}"},
        {"preference": f"{text}=1"},
        {"preference": text},
        {
            "preference": generator.choice(
                ("empathy=nan", "empathy=inf", "empathy=-inf,helpfulness=inf", "empathy=1e999")
            )
        },
        {"preference": f"empathy={1 + share},helpfulness=-{share}"},
        {"preference": "empathy=0.5,empathy=0.5"},
        {"preference": {"empathy": 1.0}},
        {"preference": generator.choice((1, 0.5, True, [], ["empathy", 1], None, ""))},
        {"preference": generator.choice(injections)},
        {
            "beta": generator.choice(
                (-1, -share - 0.1, 1e300, "1", "one", [1.0], {"value": 1}, None, True, float("nan"))
            )
        },
        {"safe_set": generator.choice((0, -share - 0.1, 1.0001 + share, "0.1", [0.1], True))},
        {generator.choice(("prefrence", "betas", "Beta", "safe-set", "objective", text)): 1},
    ]
    return generator.choice(wrong)


def _asked(client: OpenAI, ids: list[int], fields: dict[str, Any]) -> list[int]:
    body = {"ignore_eos": True, "vllm_xargs": fields, "return_token_ids": True}
    options: dict[str, Any] = {"model": "guided", "max_tokens": TOKENS, "temperature": 0}
    answer = client.completions.create(prompt=ids, extra_body=body, **options)
    return answer.choices[0].model_extra["token_ids"]


class Load:
    """Clients that ask without a pause, and what became of it."""

    def __init__(self, client: OpenAI) -> None:
        self._client, self._requests = client, drawn(DISTINCT)
        self._replies: dict[int, Counter[str]] = {index: Counter() for index in range(DISTINCT)}
        self._lock, self._until = threading.Lock(), 0.0
        self.errors, self.memory = 0, list[int]()

    def run(self) -> None:
        """For as long as it takes."""
        self._until = time.monotonic() + MINUTES * 60
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            watching = pool.submit(self._watch)
            for done in [pool.submit(self._ask, seed) for seed in range(CLIENTS)]:
                done.result()
            watching.result()

    def goals(self) -> list[Goal]:
        """Errors, wrong replies, and memory at the end over that after the first fifth."""
        judge, wrong = Judge(), 0
        for index, found in self._replies.items():
            for reply, times in found.items():
                wrong += times * (not judge.look(self._requests[index], json.loads(reply), None))
        asked = sum(times for found in self._replies.values() for times in found.values())
        fifth = len(self.memory) // 5
        growth = median(self.memory[-fifth:]) / median(self.memory[fifth : 2 * fifth])
        first, last = self.memory[fifth] / 1e6, self.memory[-1] / 1e6
        print(f"{asked} replies in {MINUTES} minutes; memory {first:.0f} MB to {last:.0f} MB")
        return [
            Goal(f"errors, of {asked + self.errors} requests in {MINUTES} minutes", self.errors, "<= 0"),
            Goal("replies of another preference", wrong, "<= 0"),
            Goal("memory of the last fifth over the second", growth, "<= 1.02"),
        ]

    def _ask(self, seed: int) -> None:
        generator = random.Random(seed)
        while time.monotonic() < self._until:
            index = generator.randrange(DISTINCT)
            ids, request = self._requests[index]
            try:
                reply = json.dumps(_asked(self._client, ids, fields_of(request)))
            except APIStatusError as error:
                print(error.message, file=sys.stderr)
                with self._lock:
                    self.errors += 1
                continue
            with self._lock:
                self._replies[index][reply] += 1

    def _watch(self) -> None:
        while time.monotonic() < self._until:
            self.memory.append(_resident())
            time.sleep(10)


def _resident() -> int:
    """Bytes of all processes that this one started, theirs included."""
    parents, sizes = dict[int, int](), dict[int, int]()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                sizes[int(folder.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            except OSError:
                continue
    own, mine = os.getpid(), set[int]()
    for process in parents:
        line = [process]
        while line[-1] in parents and line[-1] != own:
            line.append(parents[line[-1]])
        if line[-1] == own and process != own:
            mine.add(process)
    return sum(sizes[process] for process in mine)
