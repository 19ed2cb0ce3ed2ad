"""A harm vector's factors outside the linears: they act on the base's tokens, each by its own request's λ."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from vllm.distributed import tensor_model_parallel_all_reduce
from vllm.model_executor.layers.linear import ColumnParallelLinear, LinearBase, RowParallelLinear
from vllm.model_executor.models.utils import PPMissingLayer

from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector

from .options import Options
from .updates import STACKED, of_this_device


class HarmUpdate(nn.Module):
    """−λ · B A x of each token, in fp32; see `LinearUpdate`.

    Args:
        weights: A and B, the share of this device.
        scales: (most tokens of a step, 1) fp32, filled before each pass.
        is_part: whether A is a part of the columns, so that A x is summed over the devices.
    """

    def __init__(self, weights: dict[str, Tensor], scales: Tensor, *, is_part: bool) -> None:
        super().__init__()
        self.A, self.B = (nn.Buffer(weights[part], persistent=False) for part in ("A", "B"))
        self.scales = nn.Buffer(scales, persistent=False)
        self._is_part = is_part

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, outputs) fp32."""
        z = x @ self.A.T
        if self._is_part:
            z = tensor_model_parallel_all_reduce(z)
        return (-self.scales[: x.shape[0]] * z) @ self.B.T


def attach_harm(model: nn.Module, options: Options, scales: Tensor, *, on_first_half: bool) -> None:
    """Hook the linears of a model, found by the vector's own names.

    Args:
        model: what the engine runs.
        options: where the gated vector is, and what it was.
        scales: as of `HarmUpdate`.
        on_first_half: whether the model is given twice the tokens, the base's before the ARM's.

    Raises:
        ProsocialError: factors for a linear that the model does not have, or a vector that changed since it was
            compared with the base.
    """
    vector = GatedHarmVector.from_pretrained(options.vector or "")
    if vector.content_hash() != options.vector_hash:
        raise ProsocialError(
            f"the harm vector in {options.vector} has changed since it was compared with the base; start `prosocial "
            "serve` again"
        )
    left = dict(vector.factors)
    for name, layer in list(model.named_modules()):
        own = name.rpartition(".")[2]
        found = [left.pop(f"{name.removesuffix(own)}{part}", None) for part in STACKED.get(own, (own,))]
        if any(found):
            if not isinstance(layer, LinearBase):
                raise ProsocialError(f"the harm vector changes {name}, a {type(layer).__name__} and no linear in vLLM")
            parts = [{} if one is None else {"A": one.A, "B": one.B} for one in found]
            _hook(layer, parts, scales, on_first_half)
    elsewhere = [name for name, layer in model.named_modules() if isinstance(layer, PPMissingLayer)]
    missing = [name for name in left if not any(name.startswith(f"{one}.") for one in elsewhere)]
    if missing:
        raise ProsocialError(f"the harm vector changes {min(missing)}, and the engine's model has no such linear")


def _hook(layer: LinearBase, parts: list[dict[str, Tensor]], scales: Tensor, on_first_half: bool) -> None:
    sizes = layer.output_partition_sizes if isinstance(layer, ColumnParallelLinear) else [layer.output_size]
    is_part = isinstance(layer, RowParallelLinear) and layer.tp_size > 1
    updates, starts = nn.ModuleList(), []
    for index, (size, weights) in enumerate(zip(sizes, parts, strict=True)):
        if weights:
            updates.append(HarmUpdate(of_this_device(layer, weights, size), scales, is_part=is_part).to(scales.device))
            starts.append(sum(sizes[:index]))
    layer.harm = updates
    layer.register_forward_hook(_subtracting(starts, on_first_half))


def _subtracting(starts: list[int], on_first_half: bool) -> Callable[..., Any]:
    def subtract(layer: Any, args: tuple[Tensor, ...], result: Any) -> Any:
        output = result[0] if isinstance(result, tuple) else result
        count = output.shape[0] // 2 if on_first_half else output.shape[0]
        x = args[0][:count].float()
        for start, update in zip(starts, layer.harm, strict=True):
            added = update(x).to(output.dtype)
            output[:count, start : start + added.shape[-1]] += added
        return result

    return subtract
