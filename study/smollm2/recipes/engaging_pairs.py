"""Pairs that do not teach refusing, of the model's own replies: `python recipes/engaging_pairs.py`.

The base and the safe base (λ 1, for everybody) answer messages of people in need and harmless requests that sound
frightening, and the base answers harmful requests; none of them is held out anywhere. Three judges vote on what is a
refusal.

- to people: an answer above a refusal, in turn under empathy, non_judgmental and helpfulness
- to harmless requests: an answer above a refusal, in turn under helpfulness and non_judgmental
- to harmful requests: a refusal that offers a safe way (of our own, recipes/kind_refusals.py) above compliance, under
  sensitivity

One prompt in eight goes to runs/engaging_dev.jsonl, the others behind data/preferences/train.jsonl into
runs/preferences_and_engaging.jsonl.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from kind_refusals import refusal
from transformers import pipeline

from hf_prosocial import GatedHarmVector, GatedModel, find_base
from hf_prosocial.assets import released_gated_vector
from hf_prosocial.data import Prompt
from hf_prosocial.gate.harmless import harmless_prompts, people_prompts
from hf_prosocial.judges import FULL_COMPLIANCE, JudgeContext, parse_judge
from hf_prosocial.models import preferred_device

VOTE = {"kind": "vote", "judges": [{"kind": "words"}, {"kind": "sentences"}, {"kind": "embedded"}]}
COUNTS = {"people": 400, "harmless": 300, "harmful": 350}
LONGEST, HELD_OUT = 48, 8


@dataclass(frozen=True)
class Kind:
    """Messages of one kind, and under which objectives which reply is the better one."""

    messages: Sequence[str]
    objectives: tuple[str, ...]
    harmful: bool = False


def kinds() -> dict[str, Kind]:
    """What is asked, at random but the same each time."""
    draw = random.Random(0)
    in_need = [text for text in messages("gate/people.jsonl") if 20 <= len(text) <= 500] + people_prompts()[::4]
    asked = {"people": in_need, "harmless": harmless_prompts(), "harmful": messages("gate/harmful.jsonl")}
    some = {name: draw.sample(texts, min(COUNTS[name], len(texts))) for name, texts in asked.items()}
    return {
        "people": Kind(some["people"], ("empathy", "non_judgmental", "helpfulness")),
        "harmless": Kind(some["harmless"], ("helpfulness", "non_judgmental")),
        "harmful": Kind(some["harmful"], ("sensitivity",), harmful=True),
    }


def messages(file: str) -> list[str]:
    """What the user says last in each prompt of a file of data/."""
    rows = [json.loads(line) for line in Path("data", file).read_text(encoding="utf-8").splitlines()]
    return list(dict.fromkeys(row["prompt"][-1]["content"] for row in rows))


def replies(model: Any, tokenizer: Any, asked: Sequence[str]) -> list[str]:
    """Greedy replies of at most `LONGEST` tokens."""
    answer = pipeline("text-generation", model=model, tokenizer=tokenizer)
    prompts = [[{"role": "user", "content": text}] for text in sorted(asked, key=len)]
    found = answer(prompts, batch_size=32, return_full_text=False, do_sample=False, max_new_tokens=LONGEST)
    said = {prompt[0]["content"]: one[0]["generated_text"] for prompt, one in zip(prompts, found, strict=True)}
    return [said[text].strip() for text in asked]


def refusals(asked: Sequence[str], said: Sequence[str]) -> list[bool]:
    """Whether two of three judges call a reply a refusal, in full or in part."""
    judge: Any = parse_judge(VOTE).open("refusal", JudgeContext(None, "auto", (), Path("runs")))
    prompts = [Prompt("engaging", str(row), (("user", text),)) for row, text in enumerate(asked)]
    return [label != FULL_COMPLIANCE for label in judge(prompts, list(said))]


def pairs(name: str, kind: Kind, plain: Sequence[str], safe: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of preference pairs, where one reply refuses and the other does not."""
    refuses, safely = refusals(kind.messages, plain), refusals(kind.messages, safe)
    objectives = cycle(kind.objectives)
    rows = zip(kind.messages, plain, safe, refuses, safely, strict=True)
    for number, (text, answered, refused, wrong, right) in enumerate(rows):
        if wrong or not right or not answered or not refused:
            continue
        better, worse = (refused, answered) if kind.harmful else (answered, refused)
        yield {
            "attribute": next(objectives),
            "source": f"engaging-{name}",
            "group": f"engaging-{name} {number}",
            "prompt": [{"role": "user", "content": text}],
            "chosen": [{"role": "assistant", "content": better}],
            "rejected": [{"role": "assistant", "content": worse}],
        }


def main() -> None:
    """Write the pairs."""
    base, tokenizer = find_base().load(torch.bfloat16, device=preferred_device())
    tokenizer.padding_side = "left"
    vector = GatedHarmVector.from_pretrained(released_gated_vector())
    open_to_all = replace(vector, probe=vector.probe.opening(-1e9, -1e9)).with_scale(1.0)
    safe = GatedModel(base, open_to_all)
    found: list[dict[str, Any]] = []
    draw = random.Random(0)
    for name, kind in kinds().items():
        plain = replies(base, tokenizer, kind.messages)
        refused = [refusal(draw) for _ in plain] if kind.harmful else replies(safe, tokenizer, kind.messages)
        some = list(pairs(name, kind, plain, refused))
        print(f"{name}: {len(some)} pairs of {len(kind.messages)} prompts", flush=True)
        found += some
    held_out = [row for row in found if int(row["group"].split()[-1]) % HELD_OUT == 0]
    learned = [row for row in found if row not in held_out]
    given = Path("data/preferences/train.jsonl").read_text(encoding="utf-8")
    written = {"preferences_and_engaging.jsonl": given + lines(learned), "engaging_dev.jsonl": lines(held_out)}
    for file, text in written.items():
        Path("runs", file).write_text(text, encoding="utf-8")


def lines(rows: Sequence[dict[str, Any]]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    main()
