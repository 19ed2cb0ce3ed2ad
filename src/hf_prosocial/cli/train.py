"""`prosocial arm train`: a recipe (YAML) and options, to a trained adapter with its record."""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model

from hf_prosocial.arm import ArmTrainer, ArmTrainingArguments, measure_margins, record_base
from hf_prosocial.arm.pictures import draw_training
from hf_prosocial.arm.resume import last_whole_checkpoint
from hf_prosocial.files import write_text
from hf_prosocial.hub import arm_card
from hf_prosocial.pblora import PBLoraConfig, tuner_of

from .recipes import parse_recipe, resume_asked
from .training import Material, PairRecipe, measure_on_dev, prepare, read_material, training_record


@dataclass
class ArmRecipe(PairRecipe):
    """What to train an ARM on, and its shape; everything else is ArmTrainingArguments."""

    r1: int = field(default=4, metadata={"help": "rank of the shared part"})
    r2: int = field(default=4, metadata={"help": "rank of the part that the preference mixes"})
    lora_alpha: float = field(default=8, metadata={"help": "the update is scaled by lora_alpha / r2"})

    def adapter(self) -> PBLoraConfig:
        """Of a new adapter; what it records of its base is still to be added."""
        return PBLoraConfig(
            objectives=tuple(self.objectives),
            r1=self.r1,
            r2=self.r2,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=self.target_modules,
            task_type="CAUSAL_LM",
        )


def run_train(arguments: list[str]) -> None:
    """Train, save the adapter to `output_dir`, measure margins on `dev_data`; training.json and pictures beside it.

    `--resume` goes on from the last whole checkpoint in `output_dir`; where there is none, it starts anew.

    Raises:
        ValueError: an unreadable recipe, or data without a row to train on.
    """
    options, resume = resume_asked(arguments)
    recipe, training = parse_recipe(options, ArmRecipe, ArmTrainingArguments)
    output = Path(str(training.output_dir))
    if resume:
        last = last_whole_checkpoint(output)
        print(f"going on from {last}" if last else f"no whole checkpoint in {output}", file=sys.stderr)
        training.resume_from_checkpoint = None if last is None else str(last)
    material = read_material(recipe)
    torch.manual_seed(training.seed)
    arm = _new_arm(material, recipe, training)
    trainer = ArmTrainer(arm, training, material.pairs, material.tokenizer)
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()
    if not trainer.is_world_process_zero():
        return
    hashes = tuner_of(arm).adapter_config().base_weight_hashes
    log = trainer.state.log_history
    record = training_record(["train", *arguments], recipe, training, material, hashes, log)
    pictures = draw_training(log, recipe.objectives, output)
    table = measure_on_dev(record, recipe, material, output, partial(measure_margins, arm.eval()))
    write_text(output / "README.md", arm_card(record, table, pictures=pictures))


def _new_arm(material: Material, recipe: ArmRecipe, training: ArmTrainingArguments) -> PeftModel:
    config = recipe.adapter()
    record_base(config, material.base, material.tokenizer, recipe.base)
    prepare(material, recipe, training)
    arm = get_peft_model(material.base, config)
    config.base_model_name_or_path = recipe.base
    return arm
