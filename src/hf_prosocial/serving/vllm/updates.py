"""PBLoRA's updates outside the linears: they act on the ARM's tokens, each token by its own preference."""

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from vllm.distributed import tensor_model_parallel_all_reduce
from vllm.model_executor.layers.linear import ColumnParallelLinear, LinearBase, RowParallelLinear
from vllm.model_executor.models.utils import PPMissingLayer

from hf_prosocial.errors import ProsocialError

# Which of the checkpoint's linears vLLM keeps in one, in their order there.
STACKED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
Made = Callable[[dict[str, Tensor], bool], nn.Module]
_PREFIX, _PARTS = "base_model.model.", ("A", "B", "W1", "W2")


class LinearUpdate(nn.Module):
    """One linear's update, in fp32. Buffers, so that a compiled graph reads them and does not keep them.

    Args:
        weights: A, B, W1 and W2, the share of this device.
        scaling: s.
        preferences: (most tokens of a step, k) fp32, filled before each pass.
        is_part: whether A is a part of the columns, so that A x is summed over the devices.
    """

    def __init__(self, weights: dict[str, Tensor], scaling: float, preferences: Tensor, *, is_part: bool) -> None:
        super().__init__()
        self.A, self.B, self.W1, self.W2 = (nn.Buffer(weights[part], persistent=False) for part in _PARTS)
        self.preferences = nn.Buffer(preferences, persistent=False)
        self._scaling, self._is_part = scaling, is_part
        self._ranks = len(self.W1), len(self.A) - len(self.W1)

    def forward(self, x: Tensor) -> Tensor:
        """s · B · blockdiag(W1, W2(p)) · A x of each token, (tokens, outputs) fp32  [METHOD, section 2]."""
        z = x @ self.A.T
        if self._is_part:
            z = tensor_model_parallel_all_reduce(z)
        z1, z2 = z.split(self._ranks, dim=-1)
        W2 = (self.preferences[: x.shape[0]] @ self.W2).view(-1, self._ranks[1], self._ranks[1])
        mixed = torch.cat([z1 @ self.W1.T, torch.bmm(W2, z2.unsqueeze(-1)).squeeze(-1)], dim=-1)
        return self._scaling * mixed @ self.B.T


def attach_updates(model: nn.Module, arm: str, preferences: Tensor, *, on_second_half: bool) -> None:
    """Hook the linears of a model, found by the adapter's own names; outside of them, so that they may be quantised.

    Args:
        arm: the adapter's directory.
        preferences: as of `LinearUpdate`.
        on_second_half: whether the model is given twice the tokens, the ARM's after the base's.

    Raises:
        ProsocialError: an update for a linear that the model does not have.
    """
    config = json.loads((Path(arm) / "adapter_config.json").read_text(encoding="utf-8"))
    left, scaling = load_file(Path(arm) / "adapter_model.safetensors"), config["lora_alpha"] / config["r2"]

    def made(weights: dict[str, Tensor], is_part: bool) -> LinearUpdate:
        return LinearUpdate(weights, scaling, preferences, is_part=is_part).to(preferences.device)

    for name, layer in list(model.named_modules()):
        own = name.rpartition(".")[2]
        parts = [_taken(left, f"{name.removesuffix(own)}{part}") for part in STACKED.get(own, (own,))]
        if any(parts):
            if not isinstance(layer, LinearBase):
                raise ProsocialError(f"the ARM updates {name}, a {type(layer).__name__} and no linear in vLLM")
            hook_updates(layer, parts, made, 1 if on_second_half else None)
    check_left(model, left, "the ARM updates", _PREFIX)


def _taken(left: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    keys = {part: f"{_PREFIX}{name}.pblora_{part}" for part in _PARTS}
    return {part: left.pop(key) for part, key in keys.items()} if keys["A"] in left else {}


def hook_updates(layer: LinearBase, parts: Sequence[dict[str, Tensor]], made: Made, half: int | None) -> None:
    """Let a linear add updates to what it gives some of its tokens.

    Args:
        layer: the linear.
        parts: the weights of each of the checkpoint's linears that it holds, none where there is no update.
        made: makes an update from this device's share of its weights, and whether A is a part of the columns.
        half: 0 or 1, the half of the tokens that is updated; None for all.
    """
    sizes = layer.output_partition_sizes if isinstance(layer, ColumnParallelLinear) else [layer.output_size]
    is_part = isinstance(layer, RowParallelLinear) and layer.tp_size > 1
    updates, starts = nn.ModuleList(), []
    for index, (size, weights) in enumerate(zip(sizes, parts, strict=True)):
        if weights:
            updates.append(made(_of_this_device(layer, weights, size), is_part))
            starts.append(sum(sizes[:index]))
    # Of the layer, so that a compiled graph reads their buffers and does not keep them.
    name = f"updates_of_{'all' if half is None else half}"
    setattr(layer, name, updates)
    layer.register_forward_hook(_adding(name, starts, half))


def check_left(model: nn.Module, left: Collection[str], whose: str, prefix: str = "") -> None:
    """Refuse updates for linears that a model does not have, on this stage of a pipeline or on another.

    Raises:
        ProsocialError: the first of them.
    """
    elsewhere = [name for name, layer in model.named_modules() if isinstance(layer, PPMissingLayer)]
    missing = [name for name in left if not any(name.startswith(f"{prefix}{one}.") for one in elsewhere)]
    if missing:
        raise ProsocialError(f"{whose} {min(missing)}, and the engine's model has no such linear")


def _adding(name: str, starts: list[int], half: int | None) -> Callable[..., Any]:
    def add(layer: Any, args: tuple[Tensor, ...], result: Any) -> Any:
        output = result[0] if isinstance(result, tuple) else result
        count = output.shape[0] // 2
        some = slice(None) if half is None else slice(half * count, (half + 1) * count)
        x = args[0][some].float()
        for start, update in zip(starts, getattr(layer, name), strict=True):
            added = update(x).to(output.dtype)
            output[some, start : start + added.shape[-1]] += added
        return result

    return add


def _of_this_device(layer: LinearBase, weights: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """The rows of B, or columns of A, that go with a device's share of a linear.

    Args:
        size: of this device's outputs that the update is for.
    """
    if isinstance(layer, RowParallelLinear):
        if layer.tp_size > 1 and not layer.reduce_results:
            raise ProsocialError("a linear whose parts are summed later cannot be updated")
        return weights | {"A": _piece(weights["A"], layer.input_size_per_partition, 1, layer)}
    return weights | {"B": _piece(weights["B"], size, 0, layer)}


def _piece(whole: Tensor, size: int, dim: int, layer: LinearBase) -> Tensor:
    """Of as many pieces as there are; where there are fewer than devices, neighbours have the same."""
    pieces = whole.shape[dim] // size
    if pieces * size != whole.shape[dim]:
        raise ProsocialError(f"an update of {whole.shape[dim]} outputs does not fit a linear in parts of {size}")
    return whole.narrow(dim, (layer.tp_rank * pieces // layer.tp_size) * size, size).contiguous()
