"""ArmTrainer: trains PV-ARM, the preference-conditioned autoregressive reward model."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from hf_prosocial.pblora import tuner_of
from hf_prosocial.pblora.objective_gradients import ObjectiveGradients

from .batch import PairCollator, check_attention, pair_log_probs, reply_tokens
from .conflict import Conflict, conflict_weights
from .losses import contrast_losses, pair_losses
from .pairs import Pair, Pairs
from .preference_sampling import PreferenceSampler, Sampling
from .training_figures import TrainingFigures


@dataclass
class ArmTrainingArguments(TrainingArguments):
    """transformers' TrainingArguments, and what is PV-ARM's own.

    Args:
        beta_r: β_r of the loss, the inverse temperature of a pair's log-ratio  [PARM: 0.01].
        preference_concentration: α of the Dirichlet that each row's preference is drawn from  [PARM: 0.5].
        preference_sampling: "dirichlet", "size_biased", "step" (one preference a step [PARM]) or "grid"; see
            `PreferenceSampler`.
        preference_divisions, preference_corners: the grid's steps of 1/n, and whether one-hot preferences are on it.
        w2_learning_rate_ratio: the learning rate of W2, by which alone the preference acts, over the others'.
        conflict: how the objectives' gradients become one update: "pcgrad", each loses what conflicts with another;
            "upgrad", likewise by TorchJD's projection; "none", the weighted sum  [PARM].
        preference_contrast: γ, the weight of `contrast_losses` beside METHOD's loss; above 0 each row is run under two
            preferences, which doubles the cost.
    """

    beta_r: float = field(default=0.01, metadata={"help": "β_r of the loss [PARM: 0.01]"})
    preference_concentration: float = field(default=0.5, metadata={"help": "α of the preferences' Dirichlet"})
    preference_sampling: Sampling = field(
        default="dirichlet", metadata={"help": "dirichlet, size_biased, step or grid"}
    )
    preference_divisions: int = field(default=4, metadata={"help": "steps of the grid: multiples of 1/n"})
    preference_corners: bool = field(default=True, metadata={"help": "whether the grid has one-hot preferences"})
    w2_learning_rate_ratio: float = field(default=1.0, metadata={"help": "learning rate of W2 over the others'"})
    preference_contrast: float = field(default=0.0, metadata={"help": "weight γ of the contrast of two preferences"})
    conflict: Conflict = field(default="pcgrad", metadata={"help": "pcgrad, upgrad or none (a weighted sum)"})
    remove_unused_columns: bool = field(default=False, metadata={"help": "pairs are not columns; must stay False"})

    def __post_init__(self) -> None:
        super().__post_init__()
        # torch warns at every batch where there is nothing to pin memory for.
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()
        if self.beta_r <= 0 or self.preference_concentration <= 0 or self.w2_learning_rate_ratio <= 0:
            raise ValueError(
                "beta_r, preference_concentration and w2_learning_rate_ratio must be above 0, found "
                f"{self.beta_r}, {self.preference_concentration} and {self.w2_learning_rate_ratio}"
            )
        if not 0 <= self.preference_contrast < math.inf:
            raise ValueError(f"preference_contrast must be 0 or above, found {self.preference_contrast}")
        if self.preference_sampling not in get_args(Sampling):
            raise ValueError(
                f"preference_sampling is {', '.join(get_args(Sampling))}, found {self.preference_sampling!r}"
            )
        if self.preference_divisions < 1:
            raise ValueError(f"preference_divisions must be 1 or more, found {self.preference_divisions}")
        if self.conflict not in get_args(Conflict):
            raise ValueError(f"conflict is {', '.join(get_args(Conflict))}, found {self.conflict!r}")


class PairDataset(Dataset):
    """Pairs, one an item, for `Trainer`."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs.rows)

    def __getitem__(self, index: int) -> Pair:
        return self.pairs.rows[index]


class ArmTrainer(Trainer):
    """`transformers.Trainer` with METHOD's loss: each row under a preference of its own, conflicts projected away.

    L_i = (1/N) Σ over the rows labelled for objective i of p_row,i · ℓ_row, N all pairs of the optimiser step. With
    g_i = ∇L_i, the step descends Σ w_i g_i, w from the g's Gramian (`conflict_weights`): the micro-batches' and the
    processes' gradients are summed per objective first. One backward pass gives all g_i (`ObjectiveGradients`).

    With `preference_contrast` γ, ℓ_row + γ · the row's contrast loss stands in ℓ_row's place.

    Args:
        model: a `PeftModel` with one active PBLoRA adapter.
        args: `ArmTrainingArguments`.
        train_dataset, eval_dataset: pairs, from `read_pairs`.
        processing_class: the tokenizer; its pad token fills the batches.
        callbacks: transformers' callbacks.

    Raises:
        ValueError: a model without a PBLoRA adapter, pairs labelled for other objectives than the adapter's, or a
            way of training in which rows would lose their preferences (`nn.DataParallel`, re-entrant checkpointing) or
            no process holds the whole gradient (FSDP, DeepSpeed; with `conflict` other than "none").
    """

    def __init__(
        self,
        model: PeftModel,
        args: ArmTrainingArguments,
        train_dataset: Pairs,
        processing_class: PreTrainedTokenizerBase,
        eval_dataset: Pairs | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        self.tuner = tuner_of(model)
        self.settings = args
        for pairs in (train_dataset, eval_dataset):
            if pairs is not None and pairs.objectives != self.objectives:
                raise ValueError(
                    f"pairs are labelled for {list(pairs.objectives)}, the adapter has {list(self.objectives)}"
                )
            if pairs is not None:
                longest = max((pair.length for pair in pairs.rows), default=0)
                check_attention(self.tuner.wrapped.config, longest)
        if args.n_gpu > 1:
            raise ValueError("nn.DataParallel does not split a preference per row; use accelerate launch instead")
        if args.gradient_checkpointing:
            given: Any = args.gradient_checkpointing_kwargs or {}
            if given.get("use_reentrant"):
                raise ValueError("gradient checkpointing must be non-reentrant: use_reentrant=False")
            args.gradient_checkpointing_kwargs = {**given, "use_reentrant": False}
        pad = processing_class.pad_token_id
        super().__init__(
            model=model,
            args=args,
            data_collator=PairCollator(processing_class.eos_token_id if pad is None else pad),
            train_dataset=PairDataset(train_dataset),
            eval_dataset=None if eval_dataset is None else PairDataset(eval_dataset),
            processing_class=processing_class,
            callbacks=callbacks,
        )
        if self.settings.conflict != "none" and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise ValueError(
                "FSDP and DeepSpeed keep a part of the gradient in each process, and conflicts need inner products of "
                "the whole; use plain data parallel (accelerate launch --multi_gpu), or conflict='none'"
            )
        self.figures = TrainingFigures(self.objectives)
        self._by_objective = ObjectiveGradients(self.tuner)
        self._rows_seen = torch.zeros(len(self.objectives))
        # The loss below is already a mean over all pairs of the optimiser step.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    @property
    def objectives(self) -> tuple[str, ...]:
        """The adapter's objectives, in order."""
        return self.tuner.adapter_config().names

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        """Rows of similar length together, by `train_sampling_strategy="group_by_length"`; else Trainer's own."""
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or not isinstance(dataset, PairDataset):
            return super()._get_train_sampler(train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return LengthGroupedSampler(
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            lengths=[pair.packed_length for pair in dataset.pairs.rows],
            generator=torch.Generator().manual_seed(seed),
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Tensor | int | None]:
        """The micro-batches of an optimiser step, and the number of pairs in all of them (N of the loss)."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        pairs = torch.tensor(sum(len(batch["objective"]) for batch in batches), device=device)
        # Gradients are averaged over processes, so N is the processes' mean.
        return batches, self.accelerator.reduce(pairs.float(), reduction="mean")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Σ_i L_i of the micro-batch, each row under its own preference."""
        settings = self.settings
        objective = inputs["objective"]
        p, weight = self._preferences(inputs, settings.preference_sampling, draw=0)
        drawn, batch = [p], inputs
        if settings.preference_contrast > 0:
            other: Sampling = (
                "dirichlet" if settings.preference_sampling == "size_biased" else settings.preference_sampling
            )
            drawn.append(self._preferences(inputs, other, draw=1)[0])
            batch = {name: torch.cat([values, values]) for name, values in inputs.items()}
        # Set until the next step, not only for the forward pass: gradient checkpointing recomputes in the backward.
        self.tuner.set_preference(torch.cat(drawn))
        if self.projects and model.training:
            self._by_objective.assign(batch["objective"])
            # Not the wrapper of data parallel: gradients reach the copies, and are reduced per objective below.
            model = cast(nn.Module, self.model)
        else:
            self._by_objective.clear()
        log_probs = pair_log_probs(model, batch, self.tuner.wrapped.dtype)
        log_probs = log_probs.view(2, len(drawn), -1).transpose(0, 1)
        losses = pair_losses(log_probs[0], settings.beta_r)
        if model.training:
            self.figures.add_rows(objective, losses, log_probs[0, 0] - log_probs[0, 1])
        if settings.preference_contrast > 0:
            own = torch.stack(drawn)[:, torch.arange(len(p)), objective.cpu()].to(losses.device)
            contrast = contrast_losses(log_probs, reply_tokens(inputs["segments"]), own, settings.beta_r)
            losses = losses + settings.preference_contrast * contrast
        count = len(losses) if num_items_in_batch is None else num_items_in_batch
        loss = (weight.to(losses.device) * losses).sum() / count
        return (loss, log_probs[0]) if return_outputs else loss

    @property
    def projects(self) -> bool:
        """Whether the objectives' gradients are kept apart."""
        return self.settings.conflict != "none"

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Trainer's; after the last micro-batch of an optimiser step, the parameters' gradients are the update's."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.projects:
            self._rows_seen += torch.bincount(inputs["objective"].cpu(), minlength=len(self._rows_seen))
            if self.accelerator.sync_gradients:
                self._set_gradients()
        return loss

    def _set_gradients(self) -> None:
        parameters, gradients = self._by_objective.gradients()
        gradients = self.accelerator.reduce(gradients, reduction="mean")
        seen: Any = self.accelerator.reduce(self._rows_seen.to(gradients.device), reduction="sum")
        self._rows_seen = torch.zeros_like(self._rows_seen)
        present = seen.nonzero().squeeze(-1).tolist()
        gramian = (gradients.double() @ gradients.double().T).cpu()
        step = self.state.global_step
        weights = conflict_weights(gramian, present, self.settings.conflict, seed=self.args.seed, step=step)
        self.figures.add_step(gramian, present, weights)
        update = weights.to(gradients) @ gradients
        for parameter, piece in zip(parameters, update.split([one.numel() for one in parameters]), strict=True):
            parameter.grad = piece.view_as(parameter)
        self._by_objective.clear()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's, with the figures of each objective and of the conflicts since the last line."""
        super().log(logs | self.figures.take() if "loss" in logs else logs, start_time)

    def _preferences(
        self, inputs: dict[str, Tensor], sampling: Sampling, draw: int
    ) -> tuple[Float[Tensor, "rows k"], Float[Tensor, " rows"]]:
        settings = self.settings
        sampler = PreferenceSampler(
            len(self.objectives),
            sampling,
            settings.preference_concentration,
            settings.seed,
            settings.preference_divisions,
            settings.preference_corners,
        )
        objectives, lines = inputs["objective"].tolist(), inputs["line"].tolist()
        return sampler.draw(objectives, lines, step=self.state.global_step, draw=draw)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Evaluation by `Trainer`: the loss alone. Margins and control come from `hf_prosocial.arm.margins`."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Trainer's optimiser, with W2 in a group of its own where `w2_learning_rate_ratio` is not 1."""
        if self.optimizer is None and self.settings.w2_learning_rate_ratio != 1:
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, self.tuner.wrapped)
            by_rate: dict[bool, list[nn.Parameter]] = {False: [], True: []}
            for name, parameter in self.tuner.named_parameters():
                if parameter.requires_grad:
                    by_rate["pblora_W2" in name].append(parameter)
            rate = options.pop("lr")
            self.optimizer = optimizer_class(
                [
                    {"params": by_rate[False], "lr": rate, "weight_decay": self.args.weight_decay},
                    {
                        "params": by_rate[True],
                        "lr": rate * self.settings.w2_learning_rate_ratio,
                        "weight_decay": self.args.weight_decay,
                    },
                ],
                **options,
            )
            return self.optimizer
        return super().create_optimizer(*args, **kwargs)
