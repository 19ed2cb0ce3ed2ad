"""The copies that a harm vector is taken from: a base fine-tuned on completions, harmful ones or benign ones."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

from hf_prosocial.chat import padding_id
from hf_prosocial.files import write_json, write_text

from .completions import CompletionCollator, Completions
from .record import RECORD_NAME

COPY_KIND = "fine-tuned copy"
"""How a copy's prosocial.json says what it is; such a directory is never pushed."""

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
    """
    output = Path(str(args.output_dir))
    # The card and the mark come first, so that an interrupted run leaves no checkpoint without them.
    mark_copy(output, {"recipe": asdict(recipe)})
    if not recipe.full:
        targets: Any = recipe.target_modules[0] if recipe.target_modules == ["all-linear"] else recipe.target_modules
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
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model()
    if trainer.is_world_process_zero():
        record = {"recipe": asdict(recipe), "rows": len(completions), "log": trainer.state.log_history}
        mark_copy(output, record)
    return output


def mark_copy(folder: Path, record: dict[str, Any]) -> None:
    """Write the warning card, and a prosocial.json that says what this is."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "README.md", _WARNING_CARD)
    write_json(folder / RECORD_NAME, {"kind": COPY_KIND, **record})
