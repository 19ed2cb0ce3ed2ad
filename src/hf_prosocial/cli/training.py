"""What `prosocial arm train` and `train-genarm` share: the recipe's part of the data, and the record."""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.arm import Margins, Pairs, PairTrainingArguments, read_pairs
from hf_prosocial.arm.reference import with_reference
from hf_prosocial.arm.report import margin_summary, margin_table
from hf_prosocial.bases import SMOLLM2, find_base
from hf_prosocial.files import sha256, write_json
from hf_prosocial.preference import OBJECTIVES

from .recipes import changed

RECORD = "training.json"
_RECORDED_PACKAGES = ("hf-prosocial", "torch", "transformers", "peft", "accelerate")


@dataclass
class PairRecipe:
    """What to train a reward model on; everything else is PairTrainingArguments."""

    train_data: str = field(metadata={"help": "preference pairs, JSON lines: attribute, prompt, chosen, rejected"})
    dev_data: str | None = field(default=None, metadata={"help": "held-out pairs; margins are measured on them"})
    base: str = field(default=SMOLLM2, metadata={"help": "base model: a directory, a .gguf file or a Hub id"})
    base_dtype: str = field(default="auto", metadata={"help": "dtype to train the base in: auto, bfloat16, ..."})
    attn_implementation: str = field(default="sdpa", metadata={"help": "sdpa, or eager: quicker on some processors"})
    objectives: list[str] = field(default_factory=lambda: list(OBJECTIVES), metadata={"help": "names, in order"})
    target_modules: list[str] | None = field(default=None, metadata={"help": "modules to adapt; PEFT's by default"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout on the adapter's input"})
    reference_log_probs: str | None = field(
        default=None, metadata={"help": "where relative_to_base keeps the base's log-probabilities, run once"}
    )
    max_length: int = field(default=512, metadata={"help": "most tokens of prompt and reply; longer rows are left out"})


@dataclass
class Material:
    """A recipe's base and pairs, at hand."""

    source: str
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pairs: Pairs


def read_material(recipe: PairRecipe) -> Material:
    """Load the base, in the dtype of its checkpoint, and read the pairs; says both on standard error.

    Raises:
        ValueError: data without a row to train on.
    """
    source = find_base(recipe.base)
    print(f"base: {source.description}", file=sys.stderr)
    base, tokenizer = source.load()
    pairs = read_pairs(recipe.train_data, tokenizer, recipe.objectives, recipe.max_length)
    print(f"{recipe.train_data}: {pairs.report()}", file=sys.stderr)
    return Material(source.description, base, tokenizer, pairs)


def prepare(material: Material, recipe: PairRecipe, training: PairTrainingArguments) -> None:
    """Give the base its dtype and its attention kernel, after its weights were hashed; and the pairs their reference.

    Raises:
        ValueError: a file for the reference, but a loss that has none, or a file of something else.
    """
    base = material.base
    if recipe.base_dtype != "auto":
        base.to(getattr(torch, recipe.base_dtype))
    base.set_attn_implementation(recipe.attn_implementation)
    file = recipe.reference_log_probs
    if file is None:
        return
    if not training.relative_to_base:
        raise ValueError(f"reference_log_probs is {file}, but without relative_to_base nothing is compared with them")
    pad: int = material.tokenizer.eos_token_id
    with training.main_process_first(desc="log-probabilities of the base"):
        material.pairs = with_reference(material.pairs, base.to(training.device), file, pad_token_id=pad)


def training_record(
    command: list[str],
    recipe: PairRecipe,
    training: PairTrainingArguments,
    material: Material,
    weight_hashes: dict[str, str] | None,
    log: Any,
) -> dict[str, Any]:
    """What goes to training.json: all that the adapters follow from, and their log."""
    pairs = material.pairs
    return {
        "command": ["prosocial", "arm", *command],
        "recipe": dataclasses.asdict(recipe),
        "training": changed(training),
        "base": {"source": material.source, "weight_hashes": weight_hashes},
        "data": {path: sha256(path) for path in (recipe.train_data, recipe.dev_data) if path},
        "pairs": {"used": pairs.counts(), "malformed": {line: str(why) for line, why in pairs.malformed.items()}},
        "versions": {name: version(name) for name in _RECORDED_PACKAGES},
        "log": log,
    }


def measure_on_dev(
    record: dict[str, Any], recipe: PairRecipe, material: Material, output: Path, measure: Callable[..., Margins]
) -> str:
    """Write training.json, measure margins on `dev_data`, add them to it; the tables of a card.

    Args:
        measure: `measure_margins` of what was trained, without its other arguments.
    """
    write_json(output / RECORD, record)
    if not recipe.dev_data:
        return ""
    tokenizer = material.tokenizer
    longest: int = material.base.config.max_position_embeddings
    dev = read_pairs(recipe.dev_data, tokenizer, recipe.objectives, longest)
    print(f"{recipe.dev_data}: {dev.report()}", file=sys.stderr)
    margins = measure(pairs=dev, pad_token_id=tokenizer.eos_token_id)
    table = margin_table(margins)
    print(table, file=sys.stderr)
    record["dev"] = margin_summary(margins)
    write_json(output / RECORD, record)
    return table
