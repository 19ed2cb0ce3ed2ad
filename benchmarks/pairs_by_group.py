"""How well adapters order held-out pairs, each under the one-hot preference of its own objective, per token; by groups.

Pairs of one group share a line, a prompt or a reply, so that groups are resampled, for each objective apart: an
adapter's mean over the objectives, and its difference to another's on the same pairs.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_prosocial import OBJECTIVES, GenArm, Preference, find_base, load_arm, read_pairs
from hf_prosocial.arm import score_pairs
from hf_prosocial.data import Pairs
from hf_prosocial.io import kept, sha256
from hf_prosocial.pblora import tuner_of

RESAMPLES = 4000
_BATCH_TOKENS = 1024


@dataclass(frozen=True)
class HeldOut:
    """Held-out pairs, and what adapters make of them.

    Attributes:
        pairs: the pairs.
        objective: the index of each one's objective.
        won: for each adapter, 1 for each pair that it orders as people do, 0.5 for a tie.
        means: for each adapter, its mean accuracy over the objectives, and then that of each resample.
    """

    pairs: Pairs
    objective: np.ndarray
    won: dict[str, np.ndarray]
    means: dict[str, np.ndarray]

    def tell(self) -> None:
        """Print each adapter's figures."""
        for name, won in self.won.items():
            names = self.pairs.objectives
            parts = [f"{names[at]} {won[self.objective == at].mean():.3f}" for at in range(len(names))]
            print(f"{name}: {said(self.means[name])}; {', '.join(parts)}")

    def less(self, one: str, other: str) -> np.ndarray:
        """The difference of two adapters' means, and that of each resample; printed."""
        difference = self.means[one] - self.means[other]
        print(f"{one} less {other}: {said(difference)}")
        return difference


def held_out(dev: Path, adapters: Mapping[str, Path], scores: Path) -> HeldOut:
    """Measure adapters on held-out pairs of SmolLM2's; what is measured is kept in a folder."""
    base, tokenizer = find_base().load(torch.float32)
    pairs = read_pairs(dev, tokenizer, OBJECTIVES, 1024)
    rows = [json.loads(line) for line in dev.read_text(encoding="utf-8").splitlines()]
    groups = np.array([rows[pair.line - 1]["group"] for pair in pairs.rows])
    objective = np.array([pair.objective for pair in pairs.rows])
    settings = {"dev": sha256(dev), "dtype": "float32"}

    def base_alone() -> dict[str, Any]:
        (found,) = score_pairs(base, base, pairs, [nullcontext], tokenizer.eos_token_id, _BATCH_TOKENS)
        return {"log_probs": found.tolist()}

    plain = torch.tensor(kept(scores / "base.json", settings, base_alone)["log_probs"])
    won = {}
    for name, folder in adapters.items():
        own = settings | {"adapter": _hash_of(folder)}
        measure = partial(_measured, folder, base, tokenizer, pairs, plain)
        won[name] = np.array(kept(scores / f"{name}.json", own, measure)["won"])
    draws = [_draws(groups[objective == index], index) for index in range(len(pairs.objectives))]
    return HeldOut(pairs, objective, won, {name: _mean(found, objective, draws) for name, found in won.items()})


def said(values: np.ndarray) -> str:
    """A figure, and its 95 % interval over the resamples that follow it."""
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return f"{values[0]:+.3f} [{low:+.3f}, {high:+.3f}]"


def _hash_of(folder: Path) -> list[str]:
    return [sha256(file) for file in sorted(folder.rglob("*.safetensors"))]


def _measured(folder: Path, base: Any, tokenizer: Any, pairs: Pairs, plain: torch.Tensor) -> dict[str, list[float]]:
    won = np.empty(len(pairs.rows))
    using: Callable[[str], Callable[[], AbstractContextManager]]
    if (folder / "genarm.json").is_file():
        genarm = GenArm.from_pretrained(folder, base, tokenizer=tokenizer)
        model, wrapped = genarm.model, genarm.wrapped
        using = lambda objective: partial(genarm.using, objective)  # noqa: E731
    else:
        model = load_arm(folder, base, tokenizer=tokenizer)
        tuner = tuner_of(model)
        wrapped, adapter = tuner.wrapped, tuner.one_adapter()

        def using(objective: str) -> Callable[[], AbstractContextManager]:
            one_hot = tuner.preference_weights(Preference.one_hot(objective, objectives=pairs.objectives), adapter)
            return partial(tuner.preference_state.using, adapter, one_hot)

    for index, objective in enumerate(pairs.objectives):
        at = [row for row, pair in enumerate(pairs.rows) if pair.objective == index]
        some = Pairs(pairs.objectives, [pairs.rows[row] for row in at])
        (guided,) = score_pairs(model, wrapped, some, [using(objective)], tokenizer.eos_token_id, _BATCH_TOKENS)
        tokens = torch.tensor([[len(pair.chosen), len(pair.rejected)] for pair in some.rows]).T
        ratio = (guided - plain[:, at]) / tokens
        margin = (ratio[0] - ratio[1]).numpy()
        won[at] = (margin > 0) + 0.5 * (margin == 0)
    return {"won": won.tolist()}


def _draws(groups: np.ndarray, seed: int) -> np.ndarray:
    """How often each pair counts in each resample of its objective's groups; the first row is once each."""
    names, group = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    counts = np.stack([np.bincount(one, minlength=len(names)) for one in drawn])
    return np.concatenate([np.ones((1, len(groups))), counts[:, group]])


def _mean(won: np.ndarray, objective: np.ndarray, draws: list[np.ndarray]) -> np.ndarray:
    """The mean over objectives of the share won, in each resample."""
    shares = [count @ won[objective == index] / count.sum(1) for index, count in enumerate(draws)]
    return np.mean(shares, axis=0)
