"""Requests at random, and what transformers says to each: for benchmarks of serving."""

import json
import random
from typing import Any

import torch
from torch import Tensor

from hf_prosocial import OBJECTIVES, Preference, find_base, load_arm, released_arm
from hf_prosocial.serving import GuidedRequest

SEED, NEAR = 0, 1e-3
VOCABULARY = (100, 40000)  # no special tokens
Request = tuple[list[int], GuidedRequest]


def drawn(count: int, tokens: tuple[int, int] = VOCABULARY, seed: int = SEED) -> list[Request]:
    """Preferences, strengths, safe sets, lengths and shared beginnings at random."""
    generator = random.Random(seed)
    begin = [generator.randrange(*tokens) for _ in range(64)]
    found = []
    for _ in range(count):
        own = [generator.randrange(*tokens) for _ in range(generator.randrange(1, 40))]
        weights = [generator.random() for _ in OBJECTIVES]
        preference = Preference.from_dict(dict(zip(OBJECTIVES, weights, strict=True)), normalize=True)
        strength = generator.choice((0, 0.3, 1.0, 2.0)), generator.choice((None, None, 0.05))
        found.append(([*begin[: generator.choice((0, 33, 64))], *own], GuidedRequest(preference, *strength)))
    return found


def fields_of(request: GuidedRequest) -> dict[str, Any]:
    """As vLLM takes them."""
    return {name: value for name, value in request.fields().items() if value is not None}


class Judge:
    """Compares replies with what two plain passes say, in float64."""

    def __init__(self) -> None:
        self._models, self._seen = {}, dict[str, bool]()
        for dtype in (torch.float32, torch.float64):
            base, _ = find_base().load(dtype)
            arm_base, _ = find_base().load(dtype)
            self._models[dtype] = base, load_arm(released_arm(), arm_base)
        self.parted = 0
        """Replies with a token that is more than `NEAR` under the best one there."""
        self.served_error = 0.0
        """Largest |Δ log-probability| of the engine's figures from float64."""
        self.plain_error = 0.0
        """The same of two plain passes in fp32, on the same tokens."""

    def look(self, request: Request, reply: list[int], log_probs: list[float] | None) -> bool:
        """Whether the reply is the request's own."""
        key = json.dumps([request[0], request[1].fields(), reply])
        if log_probs is None and key in self._seen:
            return self._seen[key]
        exact = self._guided(torch.float64, request, reply)
        taken = exact.gather(1, torch.tensor(reply)[:, None])[:, 0]
        is_own = bool((exact.amax(1) - taken <= NEAR).all())
        self.parted += not is_own
        self._seen[key] = is_own
        if log_probs is not None:
            plain = self._guided(torch.float32, request, reply).gather(1, torch.tensor(reply)[:, None])[:, 0]
            self.plain_error = max(self.plain_error, float((plain.double() - taken).abs().max()))
            served = torch.tensor(log_probs, dtype=torch.float64)
            self.served_error = max(self.served_error, float((served - taken).abs().max()))
        return is_own

    def _guided(self, dtype: torch.dtype, request: Request, reply: list[int]) -> Tensor:
        """Log-probabilities, (tokens of the reply, vocabulary)."""
        ids, asked = request
        base, arm = self._models[dtype]
        given = torch.tensor([[*ids, *reply]])
        with torch.no_grad():
            arm.set_preference(asked.preference)
            found = [model(given).logits[0, len(ids) - 1 : -1].log_softmax(-1) for model in (base, arm)]
        guided = found[0] + asked.beta * found[1] if asked.beta else found[0]
        if asked.safe_set is not None:
            least = found[0].amax(-1, keepdim=True) + torch.tensor(asked.safe_set, dtype=dtype).log()
            guided = guided.masked_fill(found[0] < least, -torch.inf)
        return guided.log_softmax(-1)
