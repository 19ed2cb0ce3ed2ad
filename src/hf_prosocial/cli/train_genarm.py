"""`prosocial arm train-genarm`: the baseline, a LoRA for each objective, from the same recipe's data."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from peft import LoraConfig

from hf_prosocial.arm import PairTrainingArguments
from hf_prosocial.genarm import genarm_record, measure_genarm_margins, train_genarm

from .recipes import parse_recipe, resume_asked
from .training import PairRecipe, measure_on_dev, prepare, read_material, training_record


@dataclass
class GenArmRecipe(PairRecipe):
    """What to train a GenARM on, and its shape; everything else is PairTrainingArguments."""

    r: int = field(default=8, metadata={"help": "rank of each objective's LoRA"})
    lora_alpha: int = field(default=16, metadata={"help": "the update is scaled by lora_alpha / r"})


def run_train_genarm(arguments: list[str]) -> None:
    """Train each objective's LoRA into a folder of its name in `output_dir`, and measure margins on `dev_data`.

    `--resume` leaves what was finished as it is, and goes on from the last whole checkpoint of the rest.

    Raises:
        ValueError: an unreadable recipe, `max_steps`, or an objective without a row to train on.
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
        target_modules=recipe.target_modules,
        task_type="CAUSAL_LM",
    )
    arm, logs = train_genarm(
        material.base, material.tokenizer, config, training, material.pairs, identity, resume=resume
    )
    record = training_record(
        ["train-genarm", *arguments], recipe, training, material, identity.base_weight_hashes, logs
    )
    measure_on_dev(record, recipe, material, Path(str(training.output_dir)), partial(measure_genarm_margins, arm))
