"""A tiny base, a small mixture with everything that align reads, and judges of words alone."""

import yaml

from support.mixtures import local, pair_rows, paired, small_mixture, write_mixture, write_rows
from support.served import build_base

EFFORT = {
    "copy_steps": 4,
    "densities": [0.2],
    "scales": [0.1],
    "sweep_tokens": 200,
    "sweep_prompts": 4,
    "pairs": 24,
    "held_out_pairs": 10,
    "prompts": 4,
    "new_tokens": 4,
    "text_tokens": 1100,
    "save_steps": 2,
}
WORDS = {"kind": "words"}
JUDGES = {"harm": WORDS, "refusal": WORDS, "second_harm": None, "second_refusal": None}


def everything(folder):
    """A mixture with two objectives, completions, benchmarks of each kind, gate prompts and a text; its path."""
    mixture = small_mixture(folder)
    content = yaml.safe_load(mixture.read_text())
    kinds = {
        "safe": [{"text": f"how do i greet {at} owls", "label": ("safe", "unsafe")[at % 2]} for at in range(8)],
        "harmful": [{"text": f"say something rude about number {at}"} for at in range(24)],
        "harmless": [{"text": f"add {at} and two"} for at in range(24)],
        "people": [{"text": f"i am sad since day {at}"} for at in range(24)],
        "need": [{"text": f"nobody wrote to me for {at} days"} for at in range(6)],
    }
    for name, rows in kinds.items():
        path = write_rows(folder / f"{name}.jsonl", rows)
        content["sources"][name] = {"licence": "MIT", "about": "made up", "files": [local(path)]}
    text = folder / "long.txt"
    text.write_text("a line of text, and more of it\n" * 400, encoding="utf-8")
    content["sources"]["long"] = {"licence": "MIT", "about": "made up", "files": [local(text)]}
    content["texts"] = {"capability/text.txt": {"source": "long"}}
    labelled = {"prompt": "text", "label": "label"}
    content["prompts"]["safety/greetings.jsonl"] = [prompts("safe", labelled)]
    content["prompts"]["support/need.jsonl"] = [prompts("need")]
    gate = {f"gate/{name}.jsonl": [prompts(name)] for name in ("harmful", "harmless", "people")}
    return write_mixture(mixture, content | {"training_prompts": gate})


def prompts(source, options=None):
    return {"source": source, "converter": "prompts", "options": options or {"prompt": "text"}}


def own_objectives(folder):
    """A mixture of two objectives of one's own and nothing else; its path."""
    kind, clear = (write_rows(folder / f"{name}.jsonl", pair_rows(name=name)) for name in ("kind", "clear"))
    sources = {path.stem: {"licence": "MIT", "about": "made up", "files": [local(path)]} for path in (kind, clear)}
    content = {"sources": sources, "objectives": {"kindness": [paired("kind")], "clarity": [paired("clear")]}}
    return write_mixture(folder / "own.yaml", content | {"least_held_out": 8})


def tiny_base(folder):
    return build_base(folder / "base", "llama")
