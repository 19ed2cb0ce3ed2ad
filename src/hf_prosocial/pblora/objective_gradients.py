"""The gradients of k objectives in one backward pass, where each row of a batch belongs to one objective."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .layer import PBLoraLayer
from .model import PBLoraModel
from .objective_copies import ObjectiveCopies


class ObjectiveGradients:
    """Gives each objective's gradient of an adapter, k × the adapter's size, from ordinary backward passes.

    Rows of a batch do not touch one another, so a row's loss reaches the parameters through its own objective's copy
    alone. The copies' gradients add up over backward passes, as a parameter's would, until `clear`.

    Args:
        tuner: with one active adapter.
    """

    def __init__(self, tuner: PBLoraModel) -> None:
        self.adapter = tuner.one_adapter()
        self.layers = [module for module in tuner.modules() if isinstance(module, PBLoraLayer)]

    def assign(self, objectives: Int[Tensor, " rows"]) -> None:
        """Say which objective each row of the next forward passes belongs to."""
        for layer in self.layers:
            copies = layer.objective_copies.get(self.adapter)
            if copies is None:
                layer.objective_copies[self.adapter] = ObjectiveCopies.of(*_parameters(layer, self.adapter), objectives)
            else:
                copies.rows = objectives.to(copies.A.device)

    def gradients(self) -> tuple[list[nn.Parameter], Float[Tensor, "k entries"]]:
        """The parameters, and the objectives' gradients over all of them, flattened; zeros where no row was seen.

        Raises:
            RuntimeError: no rows were assigned.
        """
        parameters, gradients = [], []
        for parameter, copy in self._pairs():
            parameters.append(parameter)
            gradient = torch.zeros_like(copy) if copy.grad is None else copy.grad
            gradients.append(gradient.flatten(1))
        return parameters, torch.cat(gradients, dim=1)

    def clear(self) -> None:
        """Forget gradients and copies; forward passes go through the parameters again."""
        for layer in self.layers:
            layer.objective_copies.pop(self.adapter, None)

    def _pairs(self) -> Iterator[tuple[nn.Parameter, Float[Tensor, "k ..."]]]:
        for layer in self.layers:
            if self.adapter not in layer.objective_copies:
                raise RuntimeError("no row has an objective; call assign before the forward pass")
            copies = layer.objective_copies[self.adapter]
            yield from zip(_parameters(layer, self.adapter), (copies.A, copies.B, copies.W1, copies.W2), strict=True)


def _parameters(layer: PBLoraLayer, adapter: str) -> tuple[nn.Parameter, ...]:
    by_name = (layer.pblora_A, layer.pblora_B, layer.pblora_W1, layer.pblora_W2)
    return tuple(parameters[adapter] for parameters in by_name)
