"""What guidance costs where the ARM is asked for some tokens only: two passes a token, and fewer of them.

A reply of 32 tokens by SmolLM2 to each of three people who ask for support, one at a time, greedy; the bound on the
base's entropy is set by its own quantiles on the fully guided replies, so that 100, 50 and 20 % of tokens are guided.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor

from benchmarks.goals import Goal, report
from benchmarks.timing import in_turn, median_ratio
from hf_prosocial import Preference, ProSocialProcessor, find_base, load_arm, released_arm
from hf_prosocial.data import read_prompts
from hf_prosocial.models import replies_to

PEOPLE, LENGTH, REPEATS = 3, 32, 3
SHARES = (1.0, 0.5, 0.2)


class Entropies(LogitsProcessor):
    """Keeps the base's entropy at each token."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.found += torch.special.entr(scores.float().softmax(-1)).sum(-1).tolist()
        return scores


def run() -> bool:
    base, tokenizer = find_base().load(torch.float32)
    arm = load_arm(released_arm(), base, tokenizer=tokenizer)
    prompts = [one.messages() for one in read_prompts(Path("data/support/dev.jsonl"))[:PEOPLE]]

    def reply(*processors: Any) -> None:
        for prompt in prompts:
            replies_to(base, tokenizer, [prompt], LENGTH, {"do_sample": False, "logits_processor": list(processors)})

    def guide(bound: float) -> ProSocialProcessor:
        return ProSocialProcessor(arm, Preference.uniform(), tokenizer=tokenizer, min_entropy=bound)

    seen = Entropies()
    reply(seen, guide(0.0))
    bounds = {share: 0.0 if share == 1 else float(torch.tensor(seen.found).quantile(1 - share)) for share in SHARES}
    tasks: dict[str, Callable[[], object]] = {"base": reply}
    tasks |= {f"{share:.0%}": lambda bound=bound: reply(guide(bound)) for share, bound in bounds.items()}
    seconds = in_turn(tasks, REPEATS)
    goals = []
    for share, bound in bounds.items():
        ratio = median_ratio(seconds[f"{share:.0%}"], seconds["base"])
        print(f"{share:.0%} of tokens guided: entropy >= {bound:.2f} nats, {ratio:.2f} times the base's time")
        # Two passes for the guided share, one for the rest, and a tenth for what is read later in one pass.
        goals.append(Goal(f"time over the base's, {share:.0%} of tokens guided", ratio, f"<= {1.1 + share * 1.3:.2f}"))
    return report("sparse", goals)
