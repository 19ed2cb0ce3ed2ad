"""Two attention layers in the place of one: the first half of the tokens is the base's, the second the ARM's."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.attention import Attention

from hf_prosocial.errors import ProsocialError

Given = dict[str, tuple[tuple[Any, ...], dict[str, Any]]]


class AttentionPair(nn.Module):
    """An attention layer for the base's tokens, and one with its own cache for the ARM's."""

    def __init__(self, base: Attention, given: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
        super().__init__()
        args, kwargs = given
        if kwargs.get("kv_sharing_target_layer_name") is not None:
            raise ProsocialError("layers that share another's cache cannot be guided in one engine")
        self.base, self.arm = base, Attention(*args, **(kwargs | {"prefix": f"{kwargs['prefix']}_of_arm"}))

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Each half by its own layer."""
        half = query.shape[0] // 2
        return torch.cat(
            [self.base(query[:half], key[:half], value[:half]), self.arm(query[half:], key[half:], value[half:])]
        )


def pair(model: nn.Module, given: Given) -> None:
    """Put a pair in the place of every attention layer.

    Args:
        given: what each was made with, from `recorded`.
    """
    for name, layer in list(model.named_modules()):
        if isinstance(layer, Attention):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, AttentionPair(layer, given[layer.layer_name]))


@contextmanager
def recorded() -> Generator[Given]:
    """What every attention layer is made with, by its name; vLLM's layers do not keep it."""
    given: Given = {}
    original = Attention.__init__

    def recording(self: Attention, *args: Any, **kwargs: Any) -> None:
        given[kwargs["prefix"]] = (args, kwargs)
        original(self, *args, **kwargs)

    Attention.__init__ = recording
    try:
        yield given
    finally:
        Attention.__init__ = original
