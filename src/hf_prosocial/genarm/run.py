"""Training a GenARM by a recipe: the baseline, a LoRA for each objective, from the same recipe's data."""

from dataclasses import dataclass, field
from pathlib import Path

from peft import LoraConfig

from hf_prosocial.arm import (
    PairRecipe,
    PairTrainingArguments,
    measure_on_dev,
    prepare,
    read_material,
    recipe_of,
    training_record,
)
from hf_prosocial.io import parse_recipe, resume_asked
from hf_prosocial.records import TRAINING, BaseUsed

from .margins import measure_genarm_margins
from .training import genarm_record, train_genarm


@dataclass
class GenArmRecipe(PairRecipe):
    """What to train a GenARM on, and its shape; everything else is PairTrainingArguments.

    `--resume` leaves what was finished as it is, and goes on from the last whole checkpoint of the rest.
    """

    r: int = field(default=8, metadata={"help": "rank of each objective's LoRA"})
    lora_alpha: int = field(default=16, metadata={"help": "the update is scaled by lora_alpha / r"})


def train_genarm_from(arguments: list[str]) -> Path:
    """Train each objective's LoRA into a folder of its name in `output_dir`, and measure margins on `dev_data`.

    `--resume` leaves what was finished as it is, and goes on from the last whole checkpoint of the rest.

    Raises:
        ProsocialError: an unreadable recipe, `max_steps`, or an objective without a row to train on.
    """
    options, resume = resume_asked(arguments)
    recipe, training = parse_recipe(options, GenArmRecipe, PairTrainingArguments)
    material = read_material(recipe)
    identity = genarm_record(material.base, material.tokenizer, material.pairs, recipe.base)
    prepare(material, recipe, training)
    config = LoraConfig(
        r=recipe.r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=recipe.targets,
        task_type="CAUSAL_LM",
    )
    arm, logs = train_genarm(
        material.base, material.tokenizer, config, training, material.pairs, identity, resume=resume
    )
    output = Path(str(training.output_dir))
    record = training_record(
        recipe_of(recipe),
        training,
        BaseUsed(material.source, identity.base_weight_hashes),
        material.pairs,
        logs,
        command=["prosocial", "arm", "train-genarm", *arguments],
        dev=material.dev,
    )
    record.write(output / TRAINING)
    if material.dev is not None:
        measure_on_dev(output, measure_genarm_margins(arm, material.dev, pad_token_id=material.tokenizer.eos_token_id))
    return output
