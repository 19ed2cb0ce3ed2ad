"""PBLoRA's configuration, as PEFT lays one out, and its name among PEFT's adapter types."""

from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any

from peft import TaskType
from peft.config import PeftConfig

from hf_prosocial.errors import ProsocialError
from hf_prosocial.preference import OBJECTIVES, Preference


class PBLoraType(str, Enum):  # noqa: UP042
    """PEFT's own enum of adapter types is closed; this member stands beside it, under the name that [PARM] writes."""

    PBLORA = "PBLORA"


# Keys that [PARM] also writes, each with the only value that this adapter honours.
_PARM_DEFAULTS: dict[str, Any] = {"bias": "none", "modules_to_save": None, "init_lora_weights": True}
# What is recorded of the base, and its kinds.
_RECORDED: dict[str, type] = {
    "base_weight_hashes": dict,
    "base_sketch": dict,
    "tokenizer_hash": str,
    "chat_template": str,
}


@dataclass
class PBLoraConfig(PeftConfig):
    """Configuration of a PBLoRA adapter: ΔW(p) = s · (B1·W1·A1 + B2·W2(p)·A2), W2(p) = Σ p_i W2_i  [PARM, eq. 6].

    Args:
        objectives: the k names that a preference weighs, in order. By default the five of ProSocialAlign; where
            only `obj_num` is given (a [PARM] adapter), `objective_0`, `objective_1`, ...
        r1: rank of the part that all preferences share (A1, W1, B1); 0 leaves it out.
        r2: rank of the part that the preference mixes (A2, W2_i, B2); at least 1.
        lora_alpha: the update is scaled by s = lora_alpha / r2.
        lora_dropout: dropout on the adapter's input, while training.
        target_modules: names of the modules to adapt, or a regular expression; by default PEFT's for LoRA.
        exclude_modules: names of modules to leave out, or a regular expression.
        layers_to_transform: indices of the layers to adapt; all by default.
        layers_pattern: name of the list of layers, where `layers_to_transform` is given.
        fan_in_fan_out: weights are stored (in, out), as GPT-2's Conv1D does; set by the model.
        obj_num: k, as [PARM] writes it; follows from `objectives`.
        bias: as [PARM] writes it; only the default is supported.
        modules_to_save: likewise.
        init_lora_weights: likewise.
        pref_vec_init: written by [PARM]; not used, since the preference is given at run time.
        base_weight_hashes: for each dtype, the hash of the base's weights in that dtype (`hf_prosocial.models`).
        base_sketch: some of the base's weights, to know it again in another dtype or quantisation.
        tokenizer_hash: hash of the vocabulary of the tokenizer that the adapter was trained with.
        chat_template: the chat template that the adapter was trained with.

    Raises:
        ValueError: ranks, scale, dropout or names that make no adapter; the message gives the value found.
    """

    objectives: tuple[str, ...] | list[str] | None = None
    r1: int = 4
    r2: int = 4
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    target_modules: set[str] | list[str] | str | None = None
    exclude_modules: list[str] | set[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    fan_in_fan_out: bool = False
    obj_num: int | None = None
    bias: str = field(default="none", repr=False)
    modules_to_save: list[str] | None = field(default=None, repr=False)
    init_lora_weights: bool = field(default=True, repr=False)
    pref_vec_init: list[float] | None = field(default=None, repr=False)
    base_weight_hashes: dict[str, str] | None = field(default=None, repr=False)
    base_sketch: dict[str, Any] | None = field(default=None, repr=False)
    tokenizer_hash: str | None = field(default=None, repr=False)
    chat_template: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type: Any = PBLoraType.PBLORA
        if isinstance(self.target_modules, list | tuple):
            self.target_modules = set(self.target_modules)
        if isinstance(self.exclude_modules, list | tuple):
            self.exclude_modules = set(self.exclude_modules)
        self.name_objectives()
        for name, value, lowest in (("r1", self.r1, 0), ("r2", self.r2, 1)):
            if not isinstance(value, int) or value < lowest:
                raise ProsocialError(f"{name} must be a whole number >= {lowest}, found {value!r}")
        for name, only in _PARM_DEFAULTS.items():
            if getattr(self, name) != only:
                raise ProsocialError(f"{name}={getattr(self, name)!r} is not supported by PBLoRA; it must be {only!r}")
        if not isinstance(self.lora_alpha, int | float) or not 0 < self.lora_alpha < inf:
            raise ProsocialError(f"lora_alpha must be a number above 0, found {self.lora_alpha!r}")
        if not isinstance(self.lora_dropout, int | float) or not 0 <= self.lora_dropout < 1:
            raise ProsocialError(f"lora_dropout must be a number in [0, 1), found {self.lora_dropout!r}")
        if self.task_type not in (None, TaskType.CAUSAL_LM):
            raise ProsocialError(
                f"task_type={str(self.task_type)!r} is not supported by PBLoRA, whose rewards are a causal language "
                "model's log-probabilities; it must be 'CAUSAL_LM' or None"
            )
        for name, kind in _RECORDED.items():
            if not isinstance(getattr(self, name), kind | None):
                raise ProsocialError(f"{name} must be a {kind.__name__} or null, found {getattr(self, name)!r:.80}")

    def name_objectives(self) -> None:
        """Bring `objectives` and `obj_num` into agreement; called again where a caller names them later.

        Raises:
            ValueError: as many names as there are objectives were expected.
        """
        if self.objectives is None:
            count = self.obj_num
            self.objectives = OBJECTIVES if count is None else tuple(f"objective_{i}" for i in range(count))
            self.obj_num = len(self.objectives)
        self.objectives = Preference.uniform(objectives=self.objectives).objectives
        if self.obj_num is None:
            self.obj_num = len(self.objectives)
        if self.obj_num != len(self.objectives):
            raise ProsocialError(
                f"obj_num is {self.obj_num}, but {len(self.objectives)} objectives are named: {list(self.objectives)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The objectives, in order."""
        return tuple(self.objectives or ())

    @property
    def rank(self) -> int:
        """r1 + r2: the rank of the plain LoRA that a baked adapter is."""
        return self.r1 + self.r2

    @property
    def scaling(self) -> float:
        """s = lora_alpha / r2  [PARM]."""
        return self.lora_alpha / self.r2
