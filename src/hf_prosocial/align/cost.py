"""What a stage will take: its work in tokens of a forward pass, and how many of those the machine does in a second.

The factors were measured on SmolLM2-135M on two processor cores; elsewhere they are guesses, which the stages that are
done correct.
"""

import time
from dataclasses import dataclass, field

import torch

from hf_prosocial.data import DEV, TRAIN
from hf_prosocial.models import find_base, preferred_device

from .folder import GATE, HARMFUL, HUMANE, DataFolder
from .recipe import Effort

_ROWS, _LENGTH = 8, 64
_COMPLETION, _PAIR, _PROMPT = 180, 250, 40
"""Tokens of a row of completions, of a pair with both replies, and of a prompt; on average."""
_TRAINED, _TRAINED_PAIR = 5.0, 5.0
"""Forward passes that a token in training is worth."""
_GENERATED = 6.0
"""Forward passes that a generated token is worth, in a batch."""
_OF_GATE = 10_000
"""Prompts that the gate reads beside its files: the package's own, and harmful ones in other words."""


def stage_tokens(effort: Effort, data: DataFolder) -> dict[str, float]:
    """Work of each stage; of those that only write files, none."""
    rows = {name: data.rows(name) for name in (TRAIN, DEV, HARMFUL, HUMANE, *GATE) if data.has(name)}
    train, dev = _least(effort.pairs, rows.get(TRAIN, 0)), _least(effort.held_out_pairs, rows.get(DEV, 0))
    objectives = len(data.objectives)
    points = 1 + len(effort.densities) * len(effort.scales)
    held_out = 0.1 * (rows.get(HARMFUL, 0) + rows.get(HUMANE, 0)) * _COMPLETION
    answered = sum(
        _least(effort.prompts_of(measures), data.count(file)) for file, measures in data.benchmarks().items()
    )
    return {
        "copies": 2 * effort.copy_steps * _ROWS * _COMPLETION * _TRAINED,
        "vector": points * (held_out + effort.sweep_tokens + effort.sweep_prompts * 32 * _GENERATED),
        "gate": (_OF_GATE + sum(rows.get(name, 0) for name in GATE)) * _PROMPT,
        "arm": train * _PAIR * _TRAINED_PAIR + dev * _PAIR * (objectives + 2),
        "evaluation": 5 * (answered * effort.new_tokens * _GENERATED + effort.text_tokens) if answered else 0.0,
    }


def _least(count: int | None, there: int) -> int:
    return there if count is None else min(count, there)


@dataclass
class Pace:
    """Tokens a second, measured once, and corrected by what stages took.

    Attributes:
        base: that is measured.
        dtype: of its weights.
        done: work and seconds of the stages so far.
    """

    base: str
    dtype: torch.dtype
    done: list[tuple[float, float]] = field(default_factory=list)
    _measured: float | None = None

    def seconds(self, tokens: float) -> float:
        """What so much work will take."""
        if self._measured is None:
            self._measured = _tokens_a_second(self.base, self.dtype)
        found = tokens / self._measured
        if self.done:
            found *= sum(seconds for _, seconds in self.done) / sum(work / self._measured for work, _ in self.done)
        return found

    def took(self, tokens: float, seconds: float) -> None:
        """A stage ended."""
        if tokens:
            self.done.append((tokens, seconds))


def _tokens_a_second(base: str, dtype: torch.dtype) -> float:
    model = find_base(base).load_model(dtype).to(preferred_device())
    ids = torch.full((_ROWS, _LENGTH), 5, device=model.device)
    with torch.inference_mode():
        model(ids)
        start, passes = time.monotonic(), 0
        while time.monotonic() - start < 1.0:
            float(model(ids).logits[0, 0, 0])  # Waits for an accelerator.
            passes += 1
    return passes * ids.numel() / (time.monotonic() - start)
