"""`prosocial arm train`: a recipe (YAML) and options, to a trained adapter with its record."""

import dataclasses
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import PreTrainedTokenizerBase

from hf_prosocial.arm import ArmTrainer, ArmTrainingArguments, measure_margins, read_pairs, record_base
from hf_prosocial.arm.report import margin_summary, margin_table
from hf_prosocial.arm.resume import last_whole_checkpoint
from hf_prosocial.bases import SMOLLM2, find_base
from hf_prosocial.files import sha256, write_json, write_text
from hf_prosocial.hub import arm_card
from hf_prosocial.pblora import PBLoraConfig, tuner_of
from hf_prosocial.preference import OBJECTIVES

from .recipes import changed, parse_recipe

RECORD = "training.json"
_RECORDED_PACKAGES = ("hf-prosocial", "torch", "transformers", "peft", "accelerate")


@dataclass
class ArmRecipe:
    """What to train an ARM on, and its shape; everything else is ArmTrainingArguments."""

    train_data: str = field(metadata={"help": "preference pairs, JSON lines: attribute, prompt, chosen, rejected"})
    dev_data: str | None = field(default=None, metadata={"help": "held-out pairs; margins are measured on them"})
    base: str = field(default=SMOLLM2, metadata={"help": "base model: a directory, a .gguf file or a Hub id"})
    base_dtype: str = field(default="auto", metadata={"help": "dtype to train the base in: auto, bfloat16, ..."})
    attn_implementation: str = field(default="sdpa", metadata={"help": "sdpa, or eager: quicker on some processors"})
    objectives: list[str] = field(default_factory=lambda: list(OBJECTIVES), metadata={"help": "names, in order"})
    target_modules: list[str] | None = field(default=None, metadata={"help": "modules to adapt; PEFT's by default"})
    r1: int = field(default=4, metadata={"help": "rank of the shared part"})
    r2: int = field(default=4, metadata={"help": "rank of the part that the preference mixes"})
    lora_alpha: float = field(default=8, metadata={"help": "the update is scaled by lora_alpha / r2"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout on the adapter's input"})
    max_length: int = field(default=512, metadata={"help": "most tokens of prompt and reply; longer rows are left out"})


def run_train(arguments: list[str]) -> None:
    """Train, save the adapter to `output_dir`, measure margins on `dev_data`, and write `training.json` beside it.

    `--resume` goes on from the last whole checkpoint in `output_dir`; where there is none, it starts anew.

    Raises:
        ValueError: an unreadable recipe, or data without a row to train on.
    """
    resume = "--resume" in arguments
    options = [option for option in arguments if option != "--resume"]
    recipe, training = parse_recipe(options, ArmRecipe, ArmTrainingArguments)
    if resume:
        last = last_whole_checkpoint(str(training.output_dir))
        print(f"going on from {last}" if last else f"no whole checkpoint in {training.output_dir}", file=sys.stderr)
        training.resume_from_checkpoint = None if last is None else str(last)
    source = find_base(recipe.base)
    print(f"base: {source.description}", file=sys.stderr)
    base, tokenizer = source.load()
    pairs = read_pairs(recipe.train_data, tokenizer, recipe.objectives, recipe.max_length)
    print(f"{recipe.train_data}: {pairs.report()}", file=sys.stderr)
    torch.manual_seed(training.seed)
    arm = _new_arm(base, tokenizer, recipe)
    trainer = ArmTrainer(arm, training, pairs, tokenizer)
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()
    if not trainer.is_world_process_zero():
        return
    record = {
        "command": ["prosocial", "arm", "train", *arguments],
        "recipe": dataclasses.asdict(recipe),
        "training": changed(training),
        "base": {"source": source.description, "weight_hashes": tuner_of(arm).adapter_config().base_weight_hashes},
        "data": {path: sha256(path) for path in (recipe.train_data, recipe.dev_data) if path},
        "pairs": {"used": pairs.counts(), "malformed": {line: str(why) for line, why in pairs.malformed.items()}},
        "versions": {name: version(name) for name in _RECORDED_PACKAGES},
        "log": trainer.state.log_history,
    }
    output = Path(str(training.output_dir))
    write_json(output / RECORD, record)
    table = ""
    if recipe.dev_data:
        dev = read_pairs(recipe.dev_data, tokenizer, recipe.objectives, base.config.max_position_embeddings)
        print(f"{recipe.dev_data}: {dev.report()}", file=sys.stderr)
        margins = measure_margins(arm.eval(), dev, pad_token_id=tokenizer.eos_token_id)
        table = margin_table(margins)
        print(table, file=sys.stderr)
        write_json(output / RECORD, record | {"dev": margin_summary(margins)})
    write_text(output / "README.md", arm_card(record, table))


def _new_arm(base: Any, tokenizer: PreTrainedTokenizerBase, recipe: ArmRecipe) -> PeftModel:
    config = PBLoraConfig(
        objectives=tuple(recipe.objectives),
        r1=recipe.r1,
        r2=recipe.r2,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=recipe.target_modules,
        task_type="CAUSAL_LM",
    )
    record_base(config, base, tokenizer, recipe.base)
    if recipe.base_dtype != "auto":
        base.to(getattr(torch, recipe.base_dtype))
    base.set_attn_implementation(recipe.attn_implementation)
    arm = get_peft_model(base, config)
    config.base_model_name_or_path = recipe.base
    return arm
