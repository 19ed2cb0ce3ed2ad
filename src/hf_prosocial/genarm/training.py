"""Training a GenARM: each objective's LoRA on that objective's pairs, under the same loss as PV-ARM's."""

import copy
import json
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import CONFIG_NAME
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed

from hf_prosocial.arm.arguments import PairTrainingArguments
from hf_prosocial.arm.base_record import record_base
from hf_prosocial.arm.batch import pair_log_probs
from hf_prosocial.arm.losses import pair_losses
from hf_prosocial.arm.pair_trainer import PairTrainer
from hf_prosocial.arm.pairs import Pairs
from hf_prosocial.arm.resume import last_whole_checkpoint
from hf_prosocial.files import write_json

from .model import GenArm, GenArmRecord

LOG = "log.json"


class GenArmTrainer(PairTrainer[PairTrainingArguments]):
    """`transformers.Trainer` for one objective's LoRA: (1/N) Σ ℓ over its pairs  [GenARM].

    Args:
        model: a `PeftModel` with one LoRA.
        args: the arguments.
        train_dataset: pairs of one objective.
        processing_class: the tokenizer.
        callbacks: transformers' callbacks.
    """

    def __init__(
        self,
        model: PeftModel,
        args: PairTrainingArguments,
        train_dataset: Pairs,
        processing_class: PreTrainedTokenizerBase,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        wrapped = cast(PreTrainedModel, model.get_base_model())
        super().__init__(model, wrapped, args, train_dataset, processing_class, callbacks=callbacks)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The micro-batch's part of (1/N) Σ ℓ."""
        log_probs = pair_log_probs(model, inputs, self.wrapped.dtype)
        margins = self.margins(log_probs, inputs)
        losses = pair_losses(margins, self.settings.beta_r)
        if model.training:
            self.figures.add_rows(inputs["objective"], losses, margins)
        loss = losses.sum() / (len(losses) if num_items_in_batch is None else num_items_in_batch)
        return (loss, log_probs) if return_outputs else loss


def train_genarm(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: LoraConfig,
    args: PairTrainingArguments,
    pairs: Pairs,
    record: GenArmRecord,
    *,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
) -> tuple[GenArm, dict[str, list[dict[str, Any]]]]:
    """Train a LoRA for each objective in turn, each into a folder of its name in `args.output_dir`.

    An epoch is each objective's pairs once, so that as many steps are taken in all as PV-ARM takes on the same pairs.

    Args:
        base: the model; the adapters are taken off again after each training.
        tokenizer: the base's.
        config: of each LoRA.
        args: of each training. `max_steps` is refused: it would count for each objective anew.
        pairs: of all objectives.
        record: from `genarm_record`.
        resume: leave objectives as they are whose training ended, and go on from the last whole checkpoint of others.
        callbacks: transformers' callbacks.

    Returns:
        the GenArm, and each objective's log.

    Raises:
        ValueError: `max_steps`, or an objective without pairs.
    """
    if args.max_steps > 0:
        raise ValueError(f"max_steps={args.max_steps} would count for each objective anew; give num_train_epochs")
    empty = [name for name, count in pairs.counts().items() if count == 0]
    if empty:
        raise ValueError(f"no pair is labelled for {empty}; a GenARM learns each objective from its own pairs")
    output = Path(str(args.output_dir))
    logs = {}
    for index, name in enumerate(pairs.objectives):
        log = output / name / LOG
        if not (resume and log.is_file()):
            own = Pairs(pairs.objectives, [pair for pair in pairs.rows if pair.objective == index])
            history = _train_one(base, tokenizer, config, args, own, record, output / name, resume, callbacks)
            write_json(log, {"log": history})
        logs[name] = json.loads(log.read_text(encoding="utf-8"))["log"]
    record.save(output)
    return GenArm.from_pretrained(output, base, tokenizer=tokenizer), logs


def genarm_record(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Pairs, base_id: str
) -> GenArmRecord:
    """What a GenARM records of its base; call it on the base in the dtype of its checkpoint."""
    record = GenArmRecord(pairs.objectives)
    record_base(record, base, tokenizer, base_id)
    return record


def _train_one(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: LoraConfig,
    args: PairTrainingArguments,
    pairs: Pairs,
    record: GenArmRecord,
    output: Path,
    resume: bool,
    callbacks: list[TrainerCallback] | None,
) -> list[dict[str, Any]]:
    own = copy.copy(args)
    own.output_dir = str(output)
    set_seed(args.seed)
    arm = cast(PeftModel, get_peft_model(base, copy.deepcopy(config)))
    trainer = GenArmTrainer(arm, own, pairs, tokenizer, callbacks)
    last = last_whole_checkpoint(output) if resume else None
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    trainer.save_model()
    # PEFT names the folder that the base was loaded from, which nobody else has.
    saved = output / CONFIG_NAME
    content = json.loads(saved.read_text(encoding="utf-8"))
    write_json(saved, content | {"base_model_name_or_path": record.base_model_name_or_path})
    arm.unload()
    return trainer.state.log_history
