"""The one place where a model keeps the preference that its PBLoRA layers read."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Block:
    """What a `using` block puts in force."""

    state: "PreferenceState"
    adapter: str
    weights: Tensor
    unguided_rows: int
    kept: dict | None = None


# A block's preference belongs to the thread or task that opened it: a service answers several people at once with one
# ARM, and a shared attribute would guide one person's reply by another's preference.
_blocks: ContextVar[tuple[_Block, ...]] = ContextVar("hf_prosocial_preferences", default=())


class PreferenceState:
    """Holds, for each adapter, the weights p in force: shape (k,), or (rows, k) for one preference a row.

    Of a batch whose first rows are the base's alone (`unguided_rows`, 0 in general), p is of the rows after them.

    All layers of a model share one instance, so that setting a preference costs O(1), whatever the model's size. What
    `set` puts in force holds for all threads; what `using` does, for the thread or task that is inside the block.
    """

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}
        # One entry a block that is open, in whichever thread; `list` adds and removes without a lock.
        self._open: list[None] = []
        self._traced: tuple[_Block, ...] = ()
        self.merged_adapters: set[str] = set()

    @property
    def unguided_rows(self) -> int:
        """How many leading rows of the batch are the base's alone, in the innermost `using` block."""
        blocks = self._innermost_first()
        return blocks[0].unguided_rows if blocks else 0

    @property
    def kept(self) -> dict | None:
        """What layers may keep, in the innermost block of all; None where that is not this model's, or in a graph."""
        if not self._open or torch.compiler.is_compiling():
            return None
        blocks = _blocks.get()
        return blocks[-1].kept if blocks and blocks[-1].state is self else None

    def set(self, adapter: str, weights: Float[Tensor, "*rows k"]) -> None:
        """Put `weights` in force for `adapter`, in all threads.

        Raises:
            RuntimeError: the adapter is merged, so that a new preference would have no effect.
        """
        self._refuse_merged(adapter)
        self._weights[adapter] = weights

    def get(self, adapter: str) -> Float[Tensor, "*rows k"]:
        """The weights in force for `adapter`: the innermost block's, else what was set.

        Raises:
            RuntimeError: none has been set.
        """
        for block in self._innermost_first():
            if block.adapter == adapter:
                return block.weights
        try:
            return self._weights[adapter]
        except KeyError:
            raise RuntimeError(
                f"no preference is set for the PBLoRA adapter {adapter!r}; call "
                "model.set_preference(Preference(...)) before the forward pass, or disable the adapter"
            ) from None

    def clear(self, adapter: str) -> None:
        """Forget the preference that was set for `adapter`."""
        self._weights.pop(adapter, None)

    @contextmanager
    def using(
        self, adapter: str, weights: Float[Tensor, "*rows k"], unguided_rows: int = 0, kept: dict | None = None
    ) -> Generator[None]:
        """Put `weights` in force inside a `with` block, for this thread or task alone.

        Args:
            adapter: whose preference it is.
            weights: p.
            unguided_rows: how many leading rows are the base's alone.
            kept: what layers keep from one block to the next. Whoever hands it over empties it when p or a weight of
                the adapter changes.

        Raises:
            RuntimeError: as `set`.
        """
        self._refuse_merged(adapter)
        block = _Block(self, adapter, weights, unguided_rows, kept)
        if torch.compiler.is_compiling():
            # A block inside of a graph is the graph's own: its values are traced, and no thread shares them. Context
            # variables cannot be traced.
            before, self._traced = self._traced, (*self._traced, block)
            try:
                yield
            finally:
                self._traced = before
            return
        token = _blocks.set((*_blocks.get(), block))
        self._open.append(None)
        try:
            yield
        finally:
            self._open.pop()
            _blocks.reset(token)

    def _innermost_first(self) -> list[_Block]:
        found = list(reversed(self._traced)) if torch.compiler.is_compiling() else []
        if self._open and not found:
            found = [block for block in reversed(_blocks.get()) if block.state is self]
        return found

    def _refuse_merged(self, adapter: str) -> None:
        if adapter in self.merged_adapters:
            raise RuntimeError(
                f"adapter {adapter!r} is merged into the base weights under one preference, so a new one would have "
                "no effect; call unmerge_adapter() first"
            )
