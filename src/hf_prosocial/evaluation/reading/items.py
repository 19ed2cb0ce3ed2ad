"""What is read: the replies that an evaluation kept, each prompt's in an order that tells nobody whose they are."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prosocial.data import Prompt, read_prompts, spread
from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation.plan import preferences_of
from hf_prosocial.evaluation.replies import reply_file
from hf_prosocial.io import listed, sha256, whole_lines_of
from hf_prosocial.preference import Preference
from hf_prosocial.records import METRICS, Metrics


@dataclass(frozen=True)
class Item:
    """A reply to read.

    Attributes:
        prompt: what it answers.
        variant: whose it is; the reader is not told.
        reply: its text.
        place: of the reply among all that the variant gave to the benchmark, to find what judges said of it.
    """

    prompt: Prompt
    variant: str
    reply: str
    place: int


def read_items(out: Path, benchmark: str, variants: Sequence[str], count: int | None, seed: int) -> list[list[Item]]:
    """The replies to each prompt under the uniform preference, shuffled by the seed.

    A larger count holds the prompts of a smaller one, and whose replies are read has no say in the order of prompts.

    Args:
        out: the folder of a finished evaluation.
        benchmark: whose prompts.
        variants: whose replies; none means all that answered.
        count: of prompts, drawn by the seed; None is all.
        seed: of the choice and order of prompts, and of the order of each prompt's replies.

    Raises:
        OSError: no evaluation there.
        ProsocialError: no such benchmark or variant, another file of prompts, or replies that are missing.
    """
    metrics = Metrics.read(out / METRICS)
    if benchmark not in metrics.benchmarks:
        raise ProsocialError(f"no benchmark {benchmark!r} was answered; there are {list(metrics.benchmarks)}")
    answered = [one for one in metrics.variants if reply_file(out, one, benchmark).is_file()]
    unknown = [one for one in variants if one not in answered]
    if unknown:
        raise ProsocialError(f"{benchmark} was not answered by {unknown}; it was by {answered}")
    config = metrics.benchmarks[benchmark]
    if sha256(config["file"]) != config["sha256"]:
        raise ProsocialError(f"{config['file']} is another file than the one that was answered; put that one back")
    prompts = spread(read_prompts(config["file"], benchmark), config.get("count"))
    asked = preferences_of(config["preferences"], metrics.objectives)
    chosen = [one for one in answered if one in variants or not variants]
    by_variant = {one: _items(out, one, prompts, asked) for one in chosen}
    if count is not None and count > len(prompts):
        raise ProsocialError(f"{count} prompts are asked for; there are {len(prompts)}")
    rows = random.Random(seed).sample(range(len(prompts)), len(prompts))[:count]
    return [_shuffled([own[row] for own in by_variant.values()], f"{seed}/{row}") for row in rows]


def _shuffled(items: list[Item], seed: str) -> list[Item]:
    return random.Random(seed).sample(items, len(items))


def _items(out: Path, variant: str, prompts: Sequence[Prompt], asked: Sequence[Preference]) -> list[Item]:
    """A variant's reply to each prompt under the uniform preference, or its only one."""
    file = reply_file(out, variant, prompts[0].benchmark)
    rows: list[dict[str, Any]] = [json.loads(line) for line in whole_lines_of(file)[1:]]
    replies = {(row["prompt"], row["preference"]): row["reply"] for row in rows}
    heeds = any(preference for _, preference in replies)
    names = [str(one) for one in asked] if heeds else [""]
    uniform = str(Preference.uniform(objectives=asked[0].objectives)) if heeds else ""
    if uniform not in names:
        raise ProsocialError(f"{file} holds no reply under the uniform preference; read another benchmark")
    missing = [prompt.identity for prompt in prompts if (prompt.identity, uniform) not in replies]
    if missing:
        raise ProsocialError(f"{file} lacks replies to {listed(missing)}; finish the evaluation")
    column = names.index(uniform)
    return [
        Item(prompt, variant, replies[prompt.identity, uniform], row * len(names) + column)
        for row, prompt in enumerate(prompts)
    ]
