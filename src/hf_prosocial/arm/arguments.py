"""How a reward model is trained: transformers' TrainingArguments, and what is of pairs and of PV-ARM."""

import math
from dataclasses import dataclass, field
from typing import get_args

import torch
from transformers import TrainingArguments

from hf_prosocial.errors import ProsocialError

from .conflict import Conflict
from .preference_sampling import Sampling


@dataclass
class PairTrainingArguments(TrainingArguments):
    """transformers' TrainingArguments, for a reward model on preference pairs.

    Args:
        beta_r: β_r of the loss, the inverse temperature of a pair's log-ratio  [PARM: 0.01].
        objective_exponent: τ in [0, 1]: an epoch has objective i's rows in proportion to n_i^τ; 1 takes each row once,
            0 all objectives evenly.
        length_free: whether ℓ compares log-probabilities per token (`length_free_margins`) instead of sums  [METHOD],
            so that a reply's length alone neither saturates it nor is learned.
        relative_to_base: whether ℓ compares log π_r − log π_0 instead of log π_r, π_0 the model without the adapter:
            what margins are measured by, and no pair is lost or won from the start. Half as much work again; METHOD
            has no π_0.
        compile_base: whether to torch.compile what holds no adapter (`compile_unadapted`): minutes once, for quicker
            steps. `torch_compile` is refused: it would compile a wrapper that the objectives' gradients go past.

    Raises:
        ValueError: a value outside its range, or `torch_compile`.
    """

    beta_r: float = field(default=0.01, metadata={"help": "β_r of the loss [PARM: 0.01]"})
    objective_exponent: float = field(default=1.0, metadata={"help": "objective i's share of rows is as n_i to this"})
    length_free: bool = field(default=False, metadata={"help": "compare log-probabilities per token, not sums"})
    relative_to_base: bool = field(default=False, metadata={"help": "compare log-ratios to the model without adapter"})
    compile_base: bool = field(default=False, metadata={"help": "torch.compile the modules without an adapter"})
    remove_unused_columns: bool = field(default=False, metadata={"help": "pairs are not columns; must stay False"})

    def __post_init__(self) -> None:
        super().__post_init__()
        # torch warns at every batch where there is nothing to pin memory for.
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()
        if self.torch_compile:
            raise ProsocialError(
                "torch_compile would compile a wrapper that training goes past; set compile_base instead"
            )
        for name, least in (("learning_rate", 0), ("seed", 0), ("warmup_steps", 0)):
            if not least <= getattr(self, name) < math.inf:
                raise ProsocialError(f"{name} must be {least} or above, found {getattr(self, name)}")
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ProsocialError(f"{name} must be 1 or more, found {getattr(self, name)}")
        if self.max_steps <= 0 and not 0 < self.num_train_epochs < math.inf:
            raise ProsocialError(
                f"num_train_epochs must be above 0 where max_steps is not given, found {self.num_train_epochs}"
            )
        if self.beta_r <= 0:
            raise ProsocialError(f"beta_r must be above 0, found {self.beta_r}")
        if not 0 <= self.objective_exponent <= 1:
            raise ProsocialError(f"objective_exponent must be in [0, 1], found {self.objective_exponent}")


@dataclass
class ArmTrainingArguments(PairTrainingArguments):
    """`PairTrainingArguments`, and what is PV-ARM's own.

    Args:
        preference_concentration: α of the Dirichlet that each row's preference is drawn from  [PARM: 0.5].
        preference_sampling: "dirichlet", "size_biased", "step" (one preference a step [PARM]) or "grid"; see
            `PreferenceSampler`.
        preference_divisions: n of the grid's steps of 1/n.
        preference_corners: whether one-hot preferences are on the grid.
        w2_learning_rate_ratio: the learning rate of W2, by which alone the preference acts, over the others'.
        conflict: how the objectives' gradients become one update: "pcgrad", each loses what conflicts with another;
            "upgrad", likewise by TorchJD's projection; "none", the weighted sum  [PARM].
        rpo_alpha: the weight of `chosen_losses` beside ℓ, under the name that TRL has for it; 0 leaves METHOD's loss.
        preference_contrast: γ, the weight of `contrast_losses` beside METHOD's loss; above 0 each row is run under two
            preferences, which doubles the cost.
    """

    preference_concentration: float = field(default=0.5, metadata={"help": "α of the preferences' Dirichlet"})
    preference_sampling: Sampling = field(
        default="dirichlet", metadata={"help": "dirichlet, size_biased, step or grid"}
    )
    preference_divisions: int = field(default=4, metadata={"help": "steps of the grid: multiples of 1/n"})
    preference_corners: bool = field(default=True, metadata={"help": "whether the grid has one-hot preferences"})
    w2_learning_rate_ratio: float = field(default=1.0, metadata={"help": "learning rate of W2 over the others'"})
    rpo_alpha: float = field(default=0.0, metadata={"help": "weight of the chosen replies' loss per token [RPO]"})
    preference_contrast: float = field(default=0.0, metadata={"help": "weight γ of the contrast of two preferences"})
    conflict: Conflict = field(default="pcgrad", metadata={"help": "pcgrad, upgrad or none (a weighted sum)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preference_concentration <= 0 or self.w2_learning_rate_ratio <= 0:
            raise ProsocialError(
                "preference_concentration and w2_learning_rate_ratio must be above 0, found "
                f"{self.preference_concentration} and {self.w2_learning_rate_ratio}"
            )
        for name, weight in (("rpo_alpha", self.rpo_alpha), ("preference_contrast", self.preference_contrast)):
            if not 0 <= weight < math.inf:
                raise ProsocialError(f"{name} must be 0 or above, found {weight}")
        if self.preference_sampling not in get_args(Sampling):
            raise ProsocialError(
                f"preference_sampling is {', '.join(get_args(Sampling))}, found {self.preference_sampling!r}"
            )
        if self.preference_divisions < 1:
            raise ProsocialError(f"preference_divisions must be 1 or more, found {self.preference_divisions}")
        if self.conflict not in get_args(Conflict):
            raise ProsocialError(f"conflict is {', '.join(get_args(Conflict))}, found {self.conflict!r}")
