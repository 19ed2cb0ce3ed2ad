"""Several threads at one ARM: no reply is another person's, and one thread alone pays little for it."""

import random
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.goals import Goal, report
from benchmarks.timing import in_turn
from hf_prosocial import (
    OBJECTIVES,
    GuidedModel,
    Preference,
    ProSocialProcessor,
    find_base,
    load_arm,
    released_arm,
)
from hf_prosocial.models import sharing_weights
from hf_prosocial.pblora.preference_state import PreferenceState

THREADS, REQUESTS, TOKENS = 8, 200, 8
ROOT = Path(__file__).parent.parent


def run() -> bool:
    wrong = _wrong()
    goals = [Goal(f"wrong replies of {THREADS} x {REQUESTS}, {way}", count, "<= 0") for way, count in wrong.items()]
    ratios = _cost()
    goals += [Goal(f"one thread, over a shared attribute, {way}", ratio, "<= 1.05") for way, ratio in ratios.items()]
    return report("threads", goals)


def _wrong() -> dict[str, int]:
    """Of pico-models, whose every reply depends on the preference: replies that differ from those made alone."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.generation import prompts
    from support.models import random_arm, random_base

    torch.set_num_threads(1)
    base = random_base("llama", seed=1)
    arm = random_arm("llama", seed=2, base=sharing_weights(base))
    guided = GuidedModel(base, arm, Preference.uniform())
    options: dict[str, Any] = {"max_new_tokens": TOKENS, "do_sample": False}

    def by_processor(inputs: dict, preference: Preference) -> list:
        return base.generate(**inputs, logits_processor=[ProSocialProcessor(arm, preference)], **options).tolist()

    def by_guided_model(inputs: dict, preference: Preference) -> list:
        return guided.generate(**inputs, preference=preference, **options).tolist()

    drawn = random.Random(0)
    asked = [
        (prompts(rows=1, length=drawn.randint(3, 9), seed=seed), Preference.sample(seed=drawn.randrange(10**6)))
        for seed in range(THREADS * REQUESTS)
    ]
    found = {}
    for way, answer in (("processor", by_processor), ("GuidedModel", by_guided_model)):
        with torch.no_grad(), ThreadPoolExecutor(THREADS) as threads:
            together = list(threads.map(lambda one, answer=answer: answer(*one), asked))
            found[way] = sum(answer(*one) != reply for one, reply in zip(asked, together, strict=True))
    return found


def _cost() -> dict[str, float]:
    """SmolLM2, a request of one thread: with the preference of the block, and with one shared attribute."""
    model, tokenizer = find_base().load()
    arm = load_arm(released_arm(), model, tokenizer=tokenizer)
    preference = Preference.one_hot(OBJECTIVES[0])
    guided = GuidedModel(model, arm, preference)
    inputs = tokenizer("I failed my exam again. I feel so stupid.", return_tensors="pt")
    options: dict[str, Any] = {"max_new_tokens": 16, "min_new_tokens": 16, "do_sample": False}

    def by_processor() -> None:
        processor = ProSocialProcessor(arm, preference, tokenizer=tokenizer)
        model.generate(**inputs, logits_processor=[processor], **options)

    def by_guided_model() -> None:
        guided.generate(**inputs, **options)

    found = {}
    for way, request in (("processor", by_processor), ("GuidedModel", by_guided_model)):

        def shared(request: Any = request) -> None:
            with _shared_attribute():
                request()

        with torch.no_grad():
            seconds = in_turn({"blocks": request, "shared": shared}, 9)
        found[way] = median(seconds["blocks"]) / median(seconds["shared"])
    return found


@contextmanager
def _shared_attribute() -> Generator[None]:
    """The preference as it was before: an attribute of the model, which every thread reads and writes."""

    @contextmanager
    def using(self: Any, adapter: str, weights: Any, unguided_rows: int = 0) -> Generator[None]:
        before = self._weights.get(adapter), getattr(self, "_rows", 0)
        self._weights[adapter], self._rows = weights, unguided_rows
        try:
            yield
        finally:
            self._weights[adapter], self._rows = before

    rows = property(lambda self: getattr(self, "_rows", 0))
    shared: dict[str, Any] = {
        "using": using,
        "get": lambda self, adapter: self._weights[adapter],
        "unguided_rows": rows,
    }
    with patch.multiple(PreferenceState, **shared):
        yield
