"""Held-out pairs of the split by group: ours, PARM and GenARM, with intervals over groups, which no training has seen.

Each pair under the one-hot preference of its own objective, per token, by the adapters in study/smollm2/by_group.
Pairs of one group share a line, a prompt or a reply, so that groups are resampled, for each objective apart: an
adapter's mean over the objectives, and its difference to another's on the same pairs.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.goals import Goal, report
from hf_prosocial import OBJECTIVES, GenArm, Preference, find_base, load_arm, read_pairs
from hf_prosocial.arm import score_pairs
from hf_prosocial.data import Pairs
from hf_prosocial.io import kept
from hf_prosocial.pblora import tuner_of

ADAPTERS = Path("by_group")
OURS, OTHERS = ("ours-1", "ours-2"), ("parm-1", "parm-2", "genarm-1")
DEV, SCORES = Path("data/preferences/dev.jsonl"), Path("runs/by_group")
RESAMPLES = 4000


def run() -> bool:
    base, tokenizer = find_base().load(torch.float32)
    pairs = read_pairs(DEV, tokenizer, OBJECTIVES, 1024)
    rows = [json.loads(line) for line in DEV.read_text(encoding="utf-8").splitlines()]
    groups = np.array([rows[pair.line - 1]["group"] for pair in pairs.rows])
    objective = np.array([pair.objective for pair in pairs.rows])
    plain = _plain(base, tokenizer, pairs)
    own = {name: _won(name, base, tokenizer, pairs, plain) for name in (*OURS, *OTHERS)}
    draws = [_draws(groups[objective == index], index) for index in range(len(pairs.objectives))]
    means = {name: _mean(won, objective, draws) for name, won in own.items()}
    for name, won in own.items():
        parts = [f"{pairs.objectives[at]} {won[objective == at].mean():.3f}" for at in range(len(pairs.objectives))]
        print(f"{name}: {_said(means[name])}; {', '.join(parts)}")
    goals = [Goal(f"mean accuracy on dev, {name}", float(means[name][0]), ">= 0.66") for name in OURS]
    for other in OTHERS:
        difference = means[OURS[0]] - means[other]
        print(f"{OURS[0]} less {other}: {_said(difference)}")
        goals.append(Goal(f"{OURS[0]} less {other}, lower bound", float(np.quantile(difference[1:], 0.025)), ">= 0"))
    return report("by_group", goals)


def _plain(base: Any, tokenizer: Any, pairs: Pairs) -> torch.Tensor:
    """The base's own log-probabilities of both replies of each pair, (2, pairs); kept."""
    settings = {"pairs": len(pairs.rows), "dtype": "float32"}

    def measured() -> dict[str, Any]:
        (found,) = score_pairs(base, base, pairs, [nullcontext], tokenizer.eos_token_id, 1024)
        return {"log_probs": found.tolist()}

    return torch.tensor(kept(SCORES / "base.json", settings, measured)["log_probs"])


def _won(name: str, base: Any, tokenizer: Any, pairs: Pairs, plain: torch.Tensor) -> np.ndarray:
    """1 for each pair that the adapter orders as people do under its own objective, 0.5 for a tie; kept."""
    settings = {"adapter": name, "pairs": len(pairs.rows), "dtype": "float32"}
    found = kept(SCORES / f"{name}.json", settings, lambda: _measured(name, base, tokenizer, pairs, plain))
    return np.array(found["won"])


def _measured(name: str, base: Any, tokenizer: Any, pairs: Pairs, plain: torch.Tensor) -> dict[str, list[float]]:
    folder, won = ADAPTERS / name, np.empty(len(pairs.rows))
    using: Callable[[str], Callable[[], AbstractContextManager]]
    if name.startswith("genarm"):
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
        (guided,) = score_pairs(model, wrapped, some, [using(objective)], tokenizer.eos_token_id, 1024)
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


def _said(values: np.ndarray) -> str:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return f"{values[0]:+.3f} [{low:+.3f}, {high:+.3f}]"
