"""What `prosocial arm train` and `train-genarm` read, and the base and the pairs that it names."""

import dataclasses
import logging
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.data import Pairs, read_pairs
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import changed, sha256
from hf_prosocial.models import SMOLLM2, find_base
from hf_prosocial.preference import OBJECTIVES
from hf_prosocial.records import TRAINING, BaseUsed, PairsUsed, TrainingRecord

from .arguments import PairTrainingArguments
from .reference import with_reference

_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
DtypeName = Literal["auto", "bfloat16", "bf16", "float16", "fp16", "float32", "fp32", "float64"]
_RECORDED_PACKAGES = ("hf-prosocial", "torch", "transformers", "peft", "accelerate")
logger = logging.getLogger(__name__)


@dataclass
class PairRecipe:
    """What to train a reward model on; everything else is PairTrainingArguments."""

    train_data: str = field(metadata={"help": "preference pairs, JSON lines: attribute, prompt, chosen, rejected"})
    dev_data: str | None = field(default=None, metadata={"help": "held-out pairs; margins are measured on them"})
    base: str = field(default=SMOLLM2, metadata={"help": "base model: a directory, a .gguf file or a Hub id"})
    base_dtype: DtypeName = field(default="auto", metadata={"help": "dtype to train the base in: auto, bfloat16, ..."})
    attn_implementation: str = field(default="sdpa", metadata={"help": "sdpa, or eager: quicker on some processors"})
    objectives: list[str] = field(default_factory=lambda: list(OBJECTIVES), metadata={"help": "names, in order"})
    target_modules: list[str] | Literal["all-linear"] | None = field(
        default=None, metadata={"help": "modules to adapt, or all-linear; PEFT's by default"}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout on the adapter's input"})
    reference_log_probs: str | None = field(
        default=None, metadata={"help": "where relative_to_base keeps the base's log-probabilities, run once"}
    )
    max_length: int = field(default=512, metadata={"help": "most tokens of prompt and reply; longer rows are left out"})

    @property
    def targets(self) -> list[str] | str | None:
        """`target_modules` as PEFT takes it: an option gives a list, of which "all-linear" is no name."""
        return "all-linear" if self.target_modules == ["all-linear"] else self.target_modules


@dataclass
class Material:
    """A recipe's base and pairs, at hand.

    Attributes:
        source: where the base was found, as a sentence.
        base: in the dtype of its checkpoint, until `prepare`.
        tokenizer: the base's.
        pairs: to train on.
        dev: held-out pairs, where there are any.
    """

    source: str
    base: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pairs: Pairs
    dev: Pairs | None


def read_material(recipe: PairRecipe) -> Material:
    """Load the base, in the dtype of its checkpoint, and read the pairs, the held-out ones too.

    Raises:
        OSError: no such base, or no such file.
        ProsocialError: data without a row to train on or to measure on.
    """
    for file in (recipe.train_data, recipe.dev_data):
        if file is not None and not Path(file).is_file():
            raise FileNotFoundError(f"no file {file}")
    source = find_base(recipe.base)
    logger.info("base: %s", source.description)
    base, tokenizer = source.load()
    pairs = read_pairs(recipe.train_data, tokenizer, recipe.objectives, recipe.max_length)
    logger.info("%s: %s", recipe.train_data, pairs.report())
    if pairs.malformed:
        logger.info("why each of them was left out will stand in %s", TRAINING)
    dev = None
    if recipe.dev_data is not None:
        # Read before the training, so that a mistyped name costs nothing.
        dev = read_pairs(recipe.dev_data, tokenizer, recipe.objectives, base.config.max_position_embeddings)
        logger.info("%s: %s", recipe.dev_data, dev.report())
    for read in (pairs, *([] if dev is None else [dev])):
        if empty := [name for name, count in read.counts().items() if count == 0]:
            raise ProsocialError(
                f"{read.file} has no pair of {', '.join(empty)}, which nothing can be learned or measured of; add "
                "pairs, or name the objectives that there are (objectives)"
            )
    return Material(source.description, base, tokenizer, pairs, dev)


def prepare(material: Material, recipe: PairRecipe, training: PairTrainingArguments) -> None:
    """Give the base its dtype and its attention kernel, after its weights were hashed; and the pairs their reference.

    Raises:
        ProsocialError: a file for the reference, but a loss that has none, or a file of something else.
    """
    base = material.base
    if recipe.base_dtype != "auto":
        base.to(getattr(torch, _DTYPES.get(recipe.base_dtype, recipe.base_dtype)))
    base.set_attn_implementation(recipe.attn_implementation)
    file = recipe.reference_log_probs
    if file is None:
        return
    if not training.relative_to_base:
        raise ProsocialError(
            f"reference_log_probs is {file}, but without relative_to_base nothing is compared with them"
        )
    pad: int = material.tokenizer.eos_token_id
    with training.main_process_first(desc="log-probabilities of the base"):
        material.pairs = with_reference(material.pairs, base.to(training.device), file, pad_token_id=pad)


def training_record(
    recipe: dict[str, Any],
    training: PairTrainingArguments,
    base: BaseUsed,
    pairs: Pairs,
    log: Any,
    *,
    command: list[str] | None = None,
    dev: Pairs | None = None,
) -> TrainingRecord:
    """What goes to training.json: all that the adapters follow from, and their log.

    Args:
        recipe: the data, the base and the adapter's shape, by the recipe's names.
        training: the arguments.
        base: the base.
        pairs: that were trained on.
        log: what was logged.
        command: that trained it.
        dev: the held-out pairs.
    """
    files = [one.file for one in (pairs, dev) if one is not None and one.file is not None]
    return TrainingRecord(
        command=command,
        recipe=recipe,
        training=changed(training),
        base=base,
        data={str(file): sha256(file) for file in files},
        pairs=PairsUsed(pairs.counts(), {str(line): str(why) for line, why in pairs.malformed.items()}),
        versions={name: version(name) for name in _RECORDED_PACKAGES},
        log=log,
    )


def recipe_of(recipe: PairRecipe) -> dict[str, Any]:
    """A recipe by its names, for the record."""
    return dataclasses.asdict(recipe)
