"""A harm vector as LoRA factors, subtracted from some rows of a batch while the model runs."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import uuid4

from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from hf_prosocial.errors import ProsocialError


@dataclass(frozen=True)
class Factors:
    """τ of one linear layer: B A.

    Attributes:
        A: (r, in) fp32.
        B: (out, r) fp32; LoRA's scale is folded in.
    """

    A: Float[Tensor, "r in"]
    B: Float[Tensor, "out r"]


@dataclass(frozen=True, slots=True)
class _InForce:
    """What a `subtracting` block puts in force: λ of the first rows of a batch of so many."""

    key: str
    scales: Tensor
    rows: int


# As preferences do, λ belongs to the thread or task that is inside the block: a service answers several people at once.
_in_force: ContextVar[_InForce | None] = ContextVar("hf_prosocial_harm_scales", default=None)


class LowRankUpdate:
    """Lets the linear layers of one module tree compute (W − λ_row · B A) x inside a `subtracting` block.

    Outside of one, and where every λ is 0, the layers are untouched. The weights never change.

    Args:
        model: its layers get a forward hook each.
        factors: by the layer's name without adapters, as "model.layers.0.mlp.up_proj".

    Raises:
        ValueError: a layer that the model does not have, or whose shape is another.
    """

    def __init__(self, model: nn.Module, factors: Mapping[str, Factors]) -> None:
        # An adapter's own layer is called "q_proj.base_layer", and comes after the layer that wraps it.
        layers = {
            name.replace(".base_layer", "").removeprefix("base_model.model."): module
            for name, module in model.named_modules()
        }
        for name, factor in factors.items():
            layer = layers.get(name)
            weight = getattr(layer, "weight", None)
            shape = (factor.B.shape[0], factor.A.shape[1])
            stored = shape[::-1] if isinstance(layer, Conv1D) else shape
            if not isinstance(weight, Tensor) or tuple(weight.shape) != stored:
                found = "nothing" if weight is None else tuple(weight.shape)
                raise ProsocialError(
                    f"the harm vector changes {name} by a matrix of {shape}; the model has {found} there. Give the "
                    "base that the vector was made on"
                )
        # A name and no identity: a copy of the modules keeps their hooks, which then belong to the copy's update too.
        self._key = uuid4().hex
        for name, factor in factors.items():
            layers[name].register_forward_hook(_Subtract(self._key, factor.A.T, factor.B.T))

    @contextmanager
    def subtracting(self, scales: Float[Tensor, " rows"], of_rows: int) -> Generator[None]:
        """Put λ in force inside a `with` block, for this thread or task alone.

        Args:
            scales: λ of each of the batch's first rows; no others are changed.
            of_rows: how many rows the batch has in all.
        """
        token = _in_force.set(_InForce(self._key, scales, of_rows) if bool(scales.any()) else None)
        try:
            yield
        finally:
            _in_force.reset(token)


class _Subtract:
    """A forward hook: what a layer gives the first rows of a batch, less λ · B A x."""

    def __init__(self, key: str, A_T: Float[Tensor, "in r"], B_T: Float[Tensor, "r out"]) -> None:
        self._key, self._A_T, self._B_T = key, A_T, B_T

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        now = _in_force.get()
        if now is None or now.key != self._key:
            return
        x, rows = inputs[0], len(now.scales)
        if x.ndim != 3 or len(x) != now.rows:
            raise ProsocialError(
                f"of {now.rows} rows the first {rows} have a harm vector subtracted, but a layer got an input of shape "
                f"{tuple(x.shape)}; layers that see tokens without their rows (the experts of a mixture) cannot be "
                "edited by row. Use a checkpoint that the vector was subtracted from"
            )
        # The model may have been moved since.
        self._A_T, self._B_T = self._A_T.to(x.device), self._B_T.to(x.device)
        z = (x[:rows].to(self._A_T.dtype) @ self._A_T) * now.scales.to(x.device)[:, None, None]
        output[:rows] -= (z @ self._B_T).to(output.dtype)
