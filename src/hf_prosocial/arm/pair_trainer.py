"""What trainers on preference pairs share: the data, its order, and the mean over an optimiser step."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_utils import TrainOutput, get_last_checkpoint

from hf_prosocial.data import Pair, Pairs, padding_id
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import one_writer, take_finished

from .arguments import PairTrainingArguments
from .batch import PairCollator, reply_tokens
from .compiling import compile_unadapted
from .log_probs import pair_log_probs
from .losses import length_free_margins, summed_margins
from .pair_reading import reading_of
from .row_sampling import RowSampler
from .training_figures import TrainingFigures


class PairDataset(Dataset):
    """Pairs, one an item, for `Trainer`."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs.rows)

    def __getitem__(self, index: int) -> Pair:
        return self.pairs.rows[index]


Settings = TypeVar("Settings", bound=PairTrainingArguments)


class PairTrainer(Trainer, Generic[Settings]):
    """`transformers.Trainer` on pairs; `compute_loss` is a mean over all pairs of an optimiser step.

    Args:
        model: what is trained, a PEFT model.
        wrapped: the transformers model in it.
        args: the arguments; gradient checkpointing is made non-reentrant.
        train_dataset: pairs, from `read_pairs`.
        eval_dataset: held-out pairs, or None.
        processing_class: the tokenizer; its pad token fills the batches.
        callbacks: transformers' callbacks.

    Raises:
        ValueError: `nn.DataParallel`, or re-entrant checkpointing.
    """

    def __init__(
        self,
        model: PeftModel,
        wrapped: PreTrainedModel,
        args: Settings,
        train_dataset: Pairs,
        processing_class: PreTrainedTokenizerBase,
        eval_dataset: Pairs | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        if args.n_gpu > 1:
            raise ProsocialError("nn.DataParallel does not split a preference per row; use accelerate launch instead")
        if args.gradient_checkpointing:
            given: Any = args.gradient_checkpointing_kwargs or {}
            if given.get("use_reentrant"):
                raise ProsocialError("gradient checkpointing must be non-reentrant: use_reentrant=False")
            args.gradient_checkpointing_kwargs = {**given, "use_reentrant": False}
        if args.compile_base:
            compile_unadapted(wrapped)
        super().__init__(
            model=model,
            args=args,
            data_collator=PairCollator(padding_id(processing_class)),
            train_dataset=PairDataset(train_dataset),
            eval_dataset=None if eval_dataset is None else PairDataset(eval_dataset),
            processing_class=processing_class,
            callbacks=callbacks,
        )
        self.wrapped, self._peft_model = wrapped, model
        datasets = [train_dataset] if eval_dataset is None else [train_dataset, eval_dataset]
        self.reading = reading_of(model, wrapped, *datasets)
        self.settings = args
        self.figures = TrainingFigures(train_dataset.objectives)
        # The loss is already a mean over all pairs of the optimiser step.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Trainer's, refused where another training writes into `output_dir`; never a step beyond `max_steps`.

        Raises:
            FileExistsError: one does.
            ValueError: the adapter's weights are not finite in the end.
        """
        with one_writer(str(self.args.output_dir), writes=self.is_world_process_zero()):
            if resume_from_checkpoint is True:
                resume_from_checkpoint = get_last_checkpoint(str(self.args.output_dir))
            if isinstance(resume_from_checkpoint, str) and take_finished(self, resume_from_checkpoint):
                result = TrainOutput(self.state.global_step, float("nan"), {})
            else:
                result = super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        self._refuse_diverged()
        return result

    def _refuse_diverged(self) -> None:
        trained = [weight.detach() for weight in self._peft_model.parameters() if weight.requires_grad]
        local = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained]
        broken = sum(not bool(weight.isfinite().all()) for weight in local)
        if broken:
            raise ProsocialError(
                f"the training diverged: {broken} of the adapter's {len(local)} tensors hold numbers that are not "
                "finite. Lower learning_rate, or keep gradients short (max_grad_norm)"
            )

    def margins(self, log_probs: Float[Tensor, "2 rows"], inputs: dict[str, Tensor]) -> Float[Tensor, " rows"]:
        """m of the loss: a difference of sums, or as `length_free` and `relative_to_base` have it.

        Args:
            log_probs: of the chosen and the rejected replies under the model that is trained.
            inputs: the batch that they are of.
        """
        settings = self.settings
        if settings.relative_to_base:
            log_probs = log_probs - self._of_base(inputs)
        if settings.length_free:
            return length_free_margins(log_probs, reply_tokens(inputs["segments"]))
        return summed_margins(log_probs)

    def _of_base(self, inputs: dict[str, Tensor]) -> Float[Tensor, "2 rows"]:
        """log π_0 of the replies: as the pairs bring it, else run."""
        reference = inputs["reference"].T
        if not bool(reference.isnan().any()):
            return reference
        with torch.no_grad(), self._peft_model.disable_adapter():
            return pair_log_probs(self._peft_model, inputs, self.reading)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        """Objectives by `objective_exponent`; with `train_sampling_strategy="group_by_length"`, rows by length."""
        dataset = self.train_dataset if train_dataset is None else train_dataset
        grouped = self.args.train_sampling_strategy == "group_by_length"
        if not isinstance(dataset, PairDataset) or not (grouped or self.settings.objective_exponent < 1):
            return super()._get_train_sampler(train_dataset)
        rows = dataset.pairs.rows
        return RowSampler(
            [pair.objective for pair in rows],
            [pair.packed_length for pair in rows] if grouped else None,
            self.settings.objective_exponent,
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            self.args.seed if self.args.data_seed is None else self.args.data_seed,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Tensor | int | None]:
        """The micro-batches of an optimiser step, and the number of pairs in all of them (N of the loss)."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        pairs = torch.tensor(sum(len(batch["objective"]) for batch in batches), device=device)
        # Gradients are averaged over processes, so N is the processes' mean.
        return batches, self.accelerator.reduce(pairs.float(), reduction="mean")

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's, with the figures of each objective and of the conflicts since the last line."""
        super().log(logs | self.figures.take() if "loss" in logs else logs, start_time)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Evaluation by `Trainer`: the loss alone. Margins and control come from `hf_prosocial.arm.margins`."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss: Any = self.compute_loss(model, self._prepare_inputs(inputs))
            return loss, None, None
