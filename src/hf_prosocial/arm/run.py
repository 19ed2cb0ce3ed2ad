"""Training an ARM by a recipe, to a directory that can be loaded, published and made again."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model

from hf_prosocial.io import one_writer, parse_recipe, resume_asked
from hf_prosocial.pblora import PBLoraConfig

from .arguments import ArmTrainingArguments
from .base_record import record_base
from .dev import measure_on_dev
from .margins import measure_margins
from .recipe import Material, PairRecipe, prepare, read_material, recipe_of
from .resume import last_whole_checkpoint
from .trainer import ArmTrainer, Provenance

logger = logging.getLogger(__name__)


@dataclass
class ArmRecipe(PairRecipe):
    """What to train an ARM on, and its shape; everything else is ArmTrainingArguments.

    `--resume` goes on from the last whole checkpoint in `output_dir`; where there is none, it starts anew.
    """

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
            target_modules=self.targets,
            task_type="CAUSAL_LM",
        )


def train_arm_from(arguments: list[str]) -> Path | None:
    """`train_arm` by options: `--config FILE`, fields over it, and `--resume`.

    Raises:
        OSError, ProsocialError: an unreadable recipe, or as `train_arm`.
    """
    options, resume = resume_asked(arguments)
    recipe, training = parse_recipe(options, ArmRecipe, ArmTrainingArguments)
    return train_arm(recipe, training, resume=resume, command=["prosocial", "arm", "train", *arguments])


def train_arm(
    recipe: ArmRecipe, training: ArmTrainingArguments, *, resume: bool = False, command: list[str] | None = None
) -> Path | None:
    """Train, save the adapter to `output_dir`, and measure margins on `dev_data`; training.json and pictures beside it.

    Args:
        recipe: the data, the base and the adapter's shape.
        training: the arguments.
        resume: go on from the last whole checkpoint in `output_dir`; where there is none, start anew.
        command: what was typed, for the record.

    Returns:
        The directory; None in the processes that write nothing.

    Raises:
        OSError: no such base or file.
        ProsocialError: data without a row to train on.
    """
    output = Path(str(training.output_dir))
    if resume:
        last = last_whole_checkpoint(output)
        logger.info("going on from %s", last) if last else logger.info("no whole checkpoint in %s", output)
        training.resume_from_checkpoint = None if last is None else str(last)
    with one_writer(output, writes=training.process_index == 0):
        pass  # Before a base is loaded; the trainer holds it for as long as it writes.
    material = read_material(recipe)
    torch.manual_seed(training.seed)
    arm = _new_arm(material, recipe, training)
    trainer = ArmTrainer(arm, training, material.pairs, material.tokenizer)
    trainer.provenance = Provenance(recipe_of(recipe), material.source, command, material.dev)
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()
    if not trainer.is_world_process_zero():
        return None
    if material.dev is not None:
        measure_on_dev(output, measure_margins(arm.eval(), material.dev, pad_token_id=material.tokenizer.eos_token_id))
    return output


def _new_arm(material: Material, recipe: ArmRecipe, training: ArmTrainingArguments) -> PeftModel:
    config = recipe.adapter()
    record_base(config, material.base, material.tokenizer, recipe.base)
    prepare(material, recipe, training)
    arm = get_peft_model(material.base, config)
    config.base_model_name_or_path = recipe.base
    return arm
