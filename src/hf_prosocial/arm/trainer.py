"""ArmTrainer: trains PV-ARM, the preference-conditioned autoregressive reward model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, TrainerCallback

from hf_prosocial.data import Pairs
from hf_prosocial.errors import ProsocialError
from hf_prosocial.pblora import ObjectiveGradients, PBLoraConfig, seed_rows, tuner_of
from hf_prosocial.records import TRAINING, BaseUsed, TrainingRecord

from .arguments import ArmTrainingArguments
from .base_record import record_base
from .batch import reply_tokens
from .conflict import conflict_weights
from .log_probs import pair_log_probs
from .losses import chosen_losses, contrast_losses, length_free_margins, pair_losses
from .pair_trainer import PairTrainer
from .pictures import draw_training
from .preference_sampling import PreferenceSampler, Sampling
from .recipe import training_record


@dataclass(frozen=True)
class Provenance:
    """What a training's record says beside what the trainer knows.

    Attributes:
        recipe: the data, the base and the adapter's shape, by the recipe's names.
        source: where the base was found, as a sentence.
        command: what was typed.
        dev: the held-out pairs.
    """

    recipe: dict[str, Any]
    source: str
    command: list[str] | None = None
    dev: Pairs | None = None


class ArmTrainer(PairTrainer[ArmTrainingArguments]):
    """`transformers.Trainer` with METHOD's loss: each row under a preference of its own, conflicts projected away.

    L_i = (1/N) Σ over the rows labelled for objective i of p_row,i · ℓ_row, N all pairs of the optimiser step. With
    g_i = ∇L_i, the step descends Σ w_i g_i, w from the g's Gramian (`conflict_weights`): the micro-batches' and the
    processes' gradients are summed per objective first. One backward pass gives all g_i (`ObjectiveGradients`).

    With `rpo_alpha` α and `preference_contrast` γ, ℓ_row + α · −log π_r(y_w)/|y_w| + γ · the row's contrast loss stands
    in ℓ_row's place.

    Args:
        model: a `PeftModel` with one active PBLoRA adapter.
        args: `ArmTrainingArguments`.
        train_dataset: pairs, from `read_pairs`.
        eval_dataset: held-out pairs, or None.
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
        for pairs in (train_dataset, eval_dataset):
            if pairs is not None and pairs.objectives != self.objectives:
                raise ProsocialError(
                    f"pairs are labelled for {list(pairs.objectives)}, the adapter has {list(self.objectives)}"
                )
        super().__init__(model, self.tuner.wrapped, args, train_dataset, processing_class, eval_dataset, callbacks)
        if self.settings.conflict != "none" and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise ProsocialError(
                "FSDP and DeepSpeed keep a part of the gradient in each process, and conflicts need inner products of "
                "the whole; use plain data parallel (accelerate launch --multi_gpu), or conflict='none'"
            )
        self._sampler(args.preference_sampling)  # Raises where it could not draw.
        self.provenance: Provenance | None = None
        self._record_base(model, processing_class)
        self._by_objective = ObjectiveGradients(self.tuner)
        self._rows_seen = torch.zeros(len(self.objectives))

    @property
    def objectives(self) -> tuple[str, ...]:
        """The adapter's objectives, in order."""
        return self.tuner.adapter_config().names

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Trainer's: the adapter; and, but in a checkpoint, training.json and pictures, which publishing needs."""
        super().save_model(output_dir, _internal_call)
        if _internal_call or not self.is_world_process_zero():
            return
        folder = Path(output_dir or str(self.args.output_dir))
        self.record().write(folder / TRAINING)
        draw_training(self.state.log_history, self.objectives, folder)

    def record(self) -> TrainingRecord:
        """What goes to training.json: the adapter's shape, the base, the pairs, the arguments and the log so far."""
        config = self.tuner.adapter_config()
        given = self.provenance or Provenance(_recipe_of(config), f"the loaded model {config.base_model_name_or_path}")
        pairs: Any = self.train_dataset
        return training_record(
            given.recipe,
            self.settings,
            BaseUsed(given.source, config.base_weight_hashes),
            pairs.pairs,
            self.state.log_history,
            command=given.command,
            dev=given.dev,
        )

    def _record_base(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Let an adapter that records no base record the one at hand, while its weights are untouched."""
        config = self.tuner.adapter_config()
        if config.base_weight_hashes is None:
            record_base(config, model, tokenizer)

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
        if model.training:
            self._seed_dropout(inputs, draws=len(drawn))
        log_probs = pair_log_probs(model, batch, self.reading)
        log_probs = log_probs.view(2, len(drawn), -1).transpose(0, 1)
        margins = self.margins(log_probs[0], inputs)
        losses = pair_losses(margins, settings.beta_r)
        if model.training:
            self.figures.add_rows(objective, losses, margins)
        tokens = reply_tokens(inputs["segments"])
        if settings.rpo_alpha > 0:
            losses = losses + settings.rpo_alpha * chosen_losses(log_probs[0], tokens)
        if settings.preference_contrast > 0:
            own = torch.stack(drawn)[:, torch.arange(len(p)), objective.cpu()].to(losses.device)
            both = length_free_margins(log_probs, tokens)
            contrast = contrast_losses(both, own, settings.beta_r)
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
        seed_rows(self.tuner, None)
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

    def _preferences(
        self, inputs: dict[str, Tensor], sampling: Sampling, draw: int
    ) -> tuple[Float[Tensor, "rows k"], Float[Tensor, " rows"]]:
        objectives, lines = inputs["objective"].tolist(), inputs["line"].tolist()
        return self._sampler(sampling).draw(objectives, lines, step=self.state.global_step, draw=draw)

    def _seed_dropout(self, inputs: dict[str, Tensor], draws: int) -> None:
        """Masks by (seed, step, row), so that accumulation and data parallel change none; each draw has its own."""
        rows = list(zip(inputs["line"].tolist(), inputs["objective"].tolist(), strict=True))
        step = self.state.global_step
        seed_rows(self.tuner, [(self.args.seed, step, *row, draw) for draw in range(draws) for row in rows])

    def _sampler(self, sampling: Sampling) -> PreferenceSampler:
        settings = self.settings
        return PreferenceSampler(
            len(self.objectives),
            sampling,
            settings.preference_concentration,
            settings.seed,
            settings.preference_divisions,
            settings.preference_corners,
        )

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


def _recipe_of(config: PBLoraConfig) -> dict[str, Any]:
    """An adapter's shape by the names of `ArmRecipe`."""
    targets: Any = config.target_modules
    return {
        "base": config.base_model_name_or_path,
        "objectives": list(config.names),
        "r1": config.r1,
        "r2": config.r2,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "target_modules": sorted(targets) if isinstance(targets, set | list | tuple) else targets,
    }
