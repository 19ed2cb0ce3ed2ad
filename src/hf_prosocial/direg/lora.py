"""What a LoRA adapter directory adds to its base, tensor by tensor, without PEFT's model around it."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hf_prosocial.errors import ProsocialError
from hf_prosocial.records import read_json

from .checkpoint import Checkpoint
from .shard import TensorEntry
from .tensors import read_tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_FACTORS = {
    ".lora_A.weight": ("A", False),
    ".lora_B.weight": ("B", False),
    ".lora_embedding_A": ("A", True),
    ".lora_embedding_B": ("B", True),
}
# Ways to begin that leave the base as it is. Others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) change the base's weights
# too, so that the factors are relative to weights that the base on disk does not have.
_OF_THE_BASE = (True, False, None, "gaussian", "eva", "mica", "orthogonal")
# What changes more than W + s · B · A. Each is refused where it is on.
_UNREAD = (
    "use_dora",
    "use_qalora",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "alora_invocation_tokens",
    "megatron_config",
    "velora_config",
    "monteclora_config",
    "kasa_config",
    "use_bdlora",
    "arrow_config",
)


@dataclass(frozen=True)
class LowRank:
    """ΔW = scale · B A, or its transpose where the weight is stored (in, out).

    Attributes:
        A: (r, in) fp32.
        B: (out, r) fp32.
    """

    A: Float[Tensor, "r in"]
    B: Float[Tensor, "out r"]
    scale: float
    transposed: bool

    @property
    def shape(self) -> tuple[int, int]:
        """ΔW's, as stored."""
        out_in = (self.B.shape[0], self.A.shape[1])
        return out_in[::-1] if self.transposed else out_in

    def rows(self, start: int, stop: int) -> Float[Tensor, "rows columns"]:
        """Rows [start, stop) of ΔW."""
        if self.transposed:
            return self.scale * (self.A[:, start:stop].T @ self.B.T)
        return self.scale * (self.B[start:stop] @ self.A)


class LoraDelta:
    """τ of a LoRA: ΔW for the tensors that it adapts, 0 for the others.

    Args:
        folder: the adapter's directory.
        base: the checkpoint that it was trained on; its names and shapes are checked.

    Raises:
        ValueError: not a LoRA adapter, one that changes more than W + s · B · A, or one that does not fit the base.
    """

    def __init__(self, folder: Path, base: Checkpoint) -> None:
        config = read_json(folder / CONFIG)
        _check_config(folder, config)
        self.factors = _read_factors(folder, config, base)
        for name, factor in self.factors.items():
            if name not in base.tensors:
                raise ProsocialError(f"{folder} adapts {name}, which {base.folder} does not hold; pass its own base")
            if factor.shape != base.tensors[name].shape:
                raise ProsocialError(
                    f"{folder} changes {name} by a matrix of {factor.shape}, the base's has {base.tensors[name].shape}"
                )

    def read(self, entry: TensorEntry, start: int, stop: int) -> Float[Tensor, " entries"]:
        """τ of the base's entries [start, stop), whole rows, fp32."""
        factor = self.factors.get(entry.name)
        if factor is None:
            return torch.zeros(stop - start)
        columns = entry.shape[1]
        return factor.rows(start // columns, stop // columns).flatten()


def is_adapter(folder: Path) -> bool:
    """Whether a directory holds a PEFT adapter."""
    return (folder / CONFIG).is_file()


def _check_config(folder: Path, config: dict) -> None:
    if config.get("peft_type") != "LORA":
        raise ProsocialError(
            f"{folder} holds a {config.get('peft_type')} adapter; a LoRA, or a whole checkpoint, was expected"
        )
    on = [name for name in _UNREAD if config.get(name)]
    if config.get("bias", "none") != "none":
        on.append(f"bias={config['bias']}")
    if on:
        raise ProsocialError(
            f"{folder} uses {', '.join(on)}, which is more than W + s · B · A; merge the adapter with PEFT's "
            "merge_and_unload, save the whole model and give that directory"
        )
    pattern = config.get("alpha_pattern") or {}
    alphas = [config.get("lora_alpha"), *(pattern.values() if isinstance(pattern, dict) else [None])]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in alphas):
        raise ProsocialError(f"{folder / CONFIG} has no numbers as lora_alpha and alpha_pattern, found {alphas}")
    if not any(alphas):
        raise ProsocialError(f"{folder / CONFIG} has a lora_alpha of 0, so that the adapter changes nothing")
    begun = config.get("init_lora_weights", True)
    if not isinstance(begun, str | bool | None) or begun not in _OF_THE_BASE:
        raise ProsocialError(
            f"{folder} was begun by init_lora_weights={begun!r}, which changes the base's weights too, so that its "
            "factors are not what it adds to the base; PEFT's save_pretrained(..., "
            "path_initial_model_for_weight_conversion=...) converts it to a LoRA of the base"
        )
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}; save the adapter again with safe_serialization")


def _read_factors(folder: Path, config: dict, base: Checkpoint) -> dict[str, LowRank]:
    found: dict[str, dict[str, Tensor]] = {}
    transposed: dict[str, bool] = {}
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ProsocialError(
            f"{folder / WEIGHTS} is not a whole safetensors file ({error}); save or download it again"
        ) from error
    for key, values in weights.items():
        suffix = next((suffix for suffix in _FACTORS if key.endswith(suffix)), None)
        if suffix is None and _is_of_base(key, values, base):
            continue
        if suffix is None or values.ndim != 2:
            raise ProsocialError(
                f"{folder} holds {key} of shape {tuple(values.shape)}; LoRA factors A and B were expected"
            )
        factor, embedding = _FACTORS[suffix]
        module = key.removesuffix(suffix).removeprefix("base_model.model.")
        found.setdefault(module, {})[factor] = values.float()
        transposed[module] = embedding or bool(config.get("fan_in_fan_out"))
    for module, pair in found.items():
        if set(pair) != {"A", "B"}:
            raise ProsocialError(f"{folder} holds only {sorted(pair)} of A and B for {module}")
        if not all(torch.isfinite(values).all() for values in pair.values()):
            raise ProsocialError(f"{folder} holds infinite or NaN factors for {module}")
    return {
        f"{module}.weight": LowRank(
            pair["A"], pair["B"], _alpha(config, module) / _rank_divisor(config, pair["A"]), transposed[module]
        )
        for module, pair in found.items()
    }


def _is_of_base(key: str, values: Tensor, base: Checkpoint) -> bool:
    """Whether this is the base's own weight, which PEFT saves beside the factors of an adapted embedding."""
    entry = base.tensors.get(key.removeprefix("base_model.model.").replace(".base_layer.", "."))
    return (
        entry is not None and entry.shape == values.shape and torch.equal(read_tensor(entry).view(entry.shape), values)
    )


def _alpha(config: dict, module: str) -> float:
    patterns = config.get("alpha_pattern") or {}
    if not patterns:
        return config["lora_alpha"]
    # PEFT's own rule for which pattern a module falls under; imported here because PEFT takes seconds to load.
    from peft.utils.other import get_pattern_key

    return patterns.get(get_pattern_key(list(patterns), module), config["lora_alpha"])


def _rank_divisor(config: dict, A: Tensor) -> float:
    rank = A.shape[0]
    return math.sqrt(rank) if config.get("use_rslora") else rank
