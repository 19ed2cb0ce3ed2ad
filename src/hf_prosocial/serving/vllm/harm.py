"""A harm vector's factors outside the linears: they act on the base's tokens, each by its own request's λ."""

from torch import Tensor, nn
from vllm.distributed import tensor_model_parallel_all_reduce
from vllm.model_executor.layers.linear import LinearBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector

from .options import Options
from .updates import STACKED, check_left, hook_updates


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

    def made(weights: dict[str, Tensor], is_part: bool) -> HarmUpdate:
        return HarmUpdate(weights, scales, is_part=is_part).to(scales.device)

    for name, layer in list(model.named_modules()):
        own = name.rpartition(".")[2]
        found = [left.pop(f"{name.removesuffix(own)}{part}", None) for part in STACKED.get(own, (own,))]
        if any(found):
            if not isinstance(layer, LinearBase):
                raise ProsocialError(f"the harm vector changes {name}, a {type(layer).__name__} and no linear in vLLM")
            parts = [{} if one is None else {"A": one.A, "B": one.B} for one in found]
            hook_updates(layer, parts, made, 0 if on_first_half else None)
    check_left(model, left, "the harm vector changes")
