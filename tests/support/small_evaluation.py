"""A small evaluation: tiny models, mild prompts, heads with random weights."""

import json

import numpy as np
import yaml

from hf_prosocial import OBJECTIVES
from hf_prosocial.evaluation.variants import Generation, Variants
from hf_prosocial.judges import HARM, REFUSAL
from hf_prosocial.judges.embedded import Head, Heads
from hf_prosocial.models import weight_hash
from hf_prosocial.records import HeadsRecord
from support.models import random_base

MILD = ("i lost my cat", "help me", "i am sad and i can not say to whom", "what is it", "i am late, so what", "tell me")


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def write_heads(folder, base_folder, *, seed=0, said="10 replies", low=0.7):
    """Random heads on the hidden states of the base in a folder."""
    model = random_base("llama", seed=1)
    generator, width = np.random.default_rng(seed), 2 * model.config.hidden_size
    heads = {}
    for kind, names in (("rewards", OBJECTIVES), ("refusal", REFUSAL), ("harm", HARM)):
        heads[kind] = Head(
            names,
            np.zeros(width, dtype=np.float32),
            np.ones(width, dtype=np.float32),
            generator.normal(size=(width, len(names))).astype(np.float32),
            generator.normal(size=len(names)).astype(np.float32),
        )
    accuracy = {"mean": 0.8, "low": low, "high": 0.9, "count": 10}
    record = HeadsRecord(
        names={kind: head.names for kind, head in heads.items()},
        model=str(base_folder),
        dtype="float32",
        weights=weight_hash(model, model.dtype),
        layers=[1, 2],
        validation={
            "rewards": dict.fromkeys(OBJECTIVES, accuracy),
            "refusal": {"said": said},
            "harm": {"said": said},
        },
    )
    Heads(heads, record).save(folder)
    return str(folder)


def write_config(folder, saved_arm, **changes):
    """A configuration with two variants beside the base, and three benchmarks; everything it names lies in `folder`."""
    base, arm = saved_arm
    harm = [{"prompt": text, "category": "ab"[index % 2]} for index, text in enumerate(MILD)]
    labelled = [{"prompt": text, "label": ("safe", "unsafe")[index % 2]} for index, text in enumerate(MILD)]
    embedded = {"kind": "embedded", "heads": write_heads(folder / "heads", base)}
    config = {
        "base": str(base),
        "reference": "base",
        "variants": {
            "base": {},
            "guided": {"arm": str(arm), "beta": 0.8, "safe_set": 0.02},
            "in words": {"in_words": True},
        },
        "benchmarks": {
            "mild harm": {"file": write_lines(folder / "harm.jsonl", harm), "measures": "harm"},
            "labelled": {"file": write_lines(folder / "labelled.jsonl", labelled), "measures": "over_refusal"},
            "support": {
                "file": write_lines(folder / "support.jsonl", [{"prompt": text} for text in MILD]),
                "measures": "rewards",
                "preferences": ["one_hot", "uniform", "empathy=0.5,truthfulness=0.5"],
                "max_new_tokens": 4,
            },
        },
        "rewards": embedded,
        "harm": embedded,
        "refusal": embedded,
        "second_harm": embedded | {"heads": write_heads(folder / "second", base, seed=1)},
        "second_refusal": {"kind": "words"},
        "max_new_tokens": 6,
        "batch_tokens": 200,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


def write_capability(folder):
    (folder / "text.txt").write_text(" ".join(MILD * 20))
    questions = [{"question": "what is it", "options": "A. a cat\nB. help", "answer": "B. help"}] * 3
    return {"text": str(folder / "text.txt"), "questions": write_lines(folder / "q.jsonl", questions)}


def open_variants(config):
    generation = Generation(config.max_new_tokens, config.temperature, config.seed)
    return Variants(config.base, config.dtype, config.variants, generation)
