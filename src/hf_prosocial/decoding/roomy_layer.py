"""A layer of a dynamic cache that grows into room which is there already."""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import DynamicLayer

_LEAST_ROOM = 64  # tokens


class RoomyLayer(DynamicLayer):
    """transformers' `DynamicLayer`, but new tokens are written behind the old ones instead of copying all of them.

    Copying costs a good part of a decoding step: two fifths of it at 8 rows and 130 tokens of SmolLM2. `keys` and
    `values` are views of the beginning of two buffers; whatever replaces them (reordered rows, say) moves into new
    buffers with the next token, and what shortens them (`crop`) leaves them where they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Float[Tensor, "rows heads tokens width"], Float[Tensor, "rows heads tokens width"]]:
        """All keys and values, the new ones at the end; views, which later calls do not change."""
        if key_states.requires_grad:
            return super().update(key_states, value_states, *args, **kwargs)
        new = [key_states, value_states]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (states[:, :, :0] for states in new)
        kept: list[Any] = [self.keys, self.values]
        length = kept[0].shape[-2]
        total = length + key_states.shape[-2]
        if self._buffers is None or not all(map(_begins, self._buffers, kept)) or total > self._buffers[0].shape[-2]:
            self._buffers = [_with_room(one, states, total) for one, states in zip(kept, new, strict=True)]
        for buffer, states in zip(self._buffers, new, strict=True):
            buffer[:, :, length:total] = states
        self.keys, self.values = (buffer[:, :, :total] for buffer in self._buffers)
        return self.keys, self.values


def _begins(buffer: Tensor, kept: Tensor) -> bool:
    """Whether what is kept is the beginning of the buffer, row by row."""
    return kept.data_ptr() == buffer.data_ptr() and kept.stride() == buffer.stride() and len(kept) == len(buffer)


def _with_room(
    kept: Float[Tensor, "rows heads old width"], new: Float[Tensor, "rows heads new width"], total: int
) -> Float[Tensor, "rows heads room width"]:
    """A buffer that begins with what is kept, with room for half as many tokens again."""
    room = total + max(_LEAST_ROOM, total // 2)
    buffer = new.new_empty(*new.shape[:2], room, new.shape[-1])
    buffer[:, :, : kept.shape[-2]] = kept
    return buffer
