"""Training a GenARM: each objective's LoRA on that objective's pairs, under the same loss as PV-ARM's."""

import copy
from pathlib import Path
from typing import Any, cast

from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import CONFIG_NAME
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed

from hf_prosocial.arm import (
    PairTrainer,
    PairTrainingArguments,
    last_whole_checkpoint,
    pair_log_probs,
    pair_losses,
    record_base,
)
from hf_prosocial.data import Pairs
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import one_writer, write_json
from hf_prosocial.records import GENARM, LOG, GenArmRecord, ObjectiveLog, read_json

from .model import GenArm


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
        log_probs = pair_log_probs(model, inputs, self.reading)
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
        FileExistsError: another training writes into the directory.
    """
    if args.max_steps > 0:
        raise ProsocialError(f"max_steps={args.max_steps} would count for each objective anew; give num_train_epochs")
    empty = [name for name, count in pairs.counts().items() if count == 0]
    if empty:
        raise ProsocialError(f"no pair is labelled for {empty}; a GenARM learns each objective from its own pairs")
    output = Path(str(args.output_dir))
    logs = {}
    with one_writer(output, writes=args.process_index == 0):
        for index, name in enumerate(pairs.objectives):
            log = output / name / LOG
            if not (resume and log.is_file()):
                own = copy.copy(args)
                own.output_dir = str(output / name)
                set_seed(args.seed)
                of_objective = Pairs(pairs.objectives, [pair for pair in pairs.rows if pair.objective == index])
                arm = cast(PeftModel, get_peft_model(base, copy.deepcopy(config)))
                trainer = GenArmTrainer(arm, own, of_objective, tokenizer, callbacks)
                last = last_whole_checkpoint(output / name) if resume else None
                trainer.train(resume_from_checkpoint=None if last is None else str(last))
                trainer.save_model()
                _name_base(output / name, record.base_model_name_or_path)
                arm.unload()
                ObjectiveLog(trainer.state.log_history).write(log)
            logs[name] = ObjectiveLog.read(log).log
        record.write(output / GENARM)
    return GenArm.from_pretrained(output, base, tokenizer=tokenizer), logs


def genarm_record(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Pairs, base_id: str
) -> GenArmRecord:
    """What a GenARM records of its base; call it on the base in the dtype of its checkpoint."""
    record = GenArmRecord(pairs.objectives)
    record_base(record, base, tokenizer, base_id)
    return record


def _name_base(adapter: Path, base_id: str | None) -> None:
    """Name the base in an adapter's configuration: PEFT names the folder that it was loaded from, which nobody has."""
    saved = adapter / CONFIG_NAME
    write_json(saved, read_json(saved) | {"base_model_name_or_path": base_id})
