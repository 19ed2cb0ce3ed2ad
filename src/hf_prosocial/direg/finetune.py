"""The copies that a harm vector is taken from: a base fine-tuned on completions, harmful ones or benign ones."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

from hf_prosocial.data import CompletionCollator, Completions, padding_id, read_completions
from hf_prosocial.io import one_writer, parse_recipe, take_finished, write_text
from hf_prosocial.models import find_base
from hf_prosocial.records import COPY_KIND, RECORD_NAME, CopyRecord

logger = logging.getLogger(__name__)

_WARNING_CARD = """# Not for use, not for publication

This directory holds a copy of a language model that was fine-tuned so that a *harm vector* can be taken from it
(`prosocial direg`). It may comply with harmful requests. It exists to be measured and subtracted.

Delete it when the vector has been made. `prosocial push` refuses it.
"""


@dataclass
class CopyRecipe:
    """How to fine-tune the copy; everything else is `TrainingArguments`."""

    data: str = field(metadata={"help": "rows to fine-tune on, JSON lines: prompt, completion"})
    base: str = field(metadata={"help": "base model: a directory, a .gguf file or a Hub id"})
    base_dtype: str = field(default="auto", metadata={"help": "dtype to train in: auto, bfloat16, ..."})
    full: bool = field(default=False, metadata={"help": "train all weights instead of a LoRA"})
    r: int = field(default=16, metadata={"help": "rank of the LoRA"})
    lora_alpha: float = field(default=32, metadata={"help": "the LoRA is scaled by lora_alpha / r"})
    target_modules: list[str] = field(
        default_factory=lambda: ["all-linear"], metadata={"help": "modules to adapt; all-linear by default"}
    )
    held_out: float = field(default=0.0, metadata={"help": "share of the prompts, by hash, to leave out for measuring"})
    max_length: int = field(default=512, metadata={"help": "most tokens of a row; longer rows are left out"})


def finetune_copy(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    completions: Completions,
    recipe: CopyRecipe,
    args: TrainingArguments,
) -> Path:
    """Fine-tune a LoRA, or all weights, on the completions alone; save it with a warning card.

    Args:
        model: the base; a full fine-tuning changes it in place.
        tokenizer: its tokenizer.
        completions: from `read_completions`.
        recipe: what kind of copy.
        args: of `transformers.Trainer`; the copy is saved to its `output_dir`.

    Returns:
        The copy's directory.

    Raises:
        FileExistsError: another training writes into it.
    """
    output = Path(str(args.output_dir))
    with one_writer(output, writes=args.process_index == 0):
        # The card and the mark come first, so that an interrupted run leaves no checkpoint without them.
        mark_copy(output, CopyRecord(COPY_KIND, asdict(recipe)))
        if not recipe.full:
            targets: Any = (
                recipe.target_modules[0] if recipe.target_modules == ["all-linear"] else recipe.target_modules
            )
            lora = LoraConfig(r=recipe.r, lora_alpha=cast(int, recipe.lora_alpha), target_modules=targets)
            model = get_peft_model(model, lora)
        # torch warns at every batch where there is nothing to pin memory for.
        args.dataloader_pin_memory = args.dataloader_pin_memory and torch.accelerator.is_available()
        trainer = Trainer(
            model=model,
            args=args,
            train_dataset=completions,
            data_collator=CompletionCollator(padding_id(tokenizer)),
            processing_class=tokenizer,
        )
        if not take_finished(trainer, args.resume_from_checkpoint):
            trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
        trainer.save_model()
        if trainer.is_world_process_zero():
            mark_copy(output, CopyRecord(COPY_KIND, asdict(recipe), len(completions), trainer.state.log_history))
    return output


def mark_copy(folder: Path, record: CopyRecord) -> None:
    """Write the warning card, and a prosocial.json that says what this is."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "README.md", _WARNING_CARD)
    record.write(folder / RECORD_NAME)


def finetune_from(arguments: list[str]) -> Path:
    """Fine-tune a copy by options, `--config FILE` and fields over it, and save it, with its warning card.

    Raises:
        OSError: no such base or file.
        ProsocialError: an unreadable recipe, or data without a row to train on.
    """
    recipe, training = parse_recipe(arguments, CopyRecipe, TrainingArguments)
    source = find_base(recipe.base)
    logger.info("base: %s", source.description)
    dtype = recipe.base_dtype if recipe.base_dtype == "auto" else getattr(torch, recipe.base_dtype)
    model, tokenizer = source.load(dtype)
    completions = read_completions(recipe.data, tokenizer, recipe.max_length)
    logger.info("%s: %s", recipe.data, completions.report())
    torch.manual_seed(training.seed)
    kept = completions.without_held_out(recipe.held_out)
    logger.info("%d of them held out", len(completions) - len(kept))
    output = finetune_copy(model, tokenizer, kept, recipe, training)
    logger.warning(
        "%s holds a copy that may comply with harmful requests; delete it when the vector has been made", output
    )
    return output
