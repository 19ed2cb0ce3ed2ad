"""The one place where a model keeps the preference that its PBLoRA layers read."""

from collections.abc import Generator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor


class PreferenceState:
    """Holds, for each adapter, the weights p in force: shape (k,), or (rows, k) for one preference a row.

    Of a batch whose first rows are the base's alone (`unguided_rows`, 0 in general), p is of the rows after them.

    All layers of a model share one instance, so that setting a preference costs O(1), whatever the model's size.
    """

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}
        self.unguided_rows = 0
        self.merged_adapters: set[str] = set()

    def set(self, adapter: str, weights: Float[Tensor, "*rows k"]) -> None:
        """Put `weights` in force for `adapter`.

        Raises:
            RuntimeError: the adapter is merged, so that a new preference would have no effect.
        """
        if adapter in self.merged_adapters:
            raise RuntimeError(
                f"adapter {adapter!r} is merged into the base weights under one preference, so a new one would have "
                "no effect; call unmerge_adapter() first"
            )
        self._weights[adapter] = weights

    def get(self, adapter: str) -> Float[Tensor, "*rows k"]:
        """The weights in force for `adapter`.

        Raises:
            RuntimeError: none has been set.
        """
        try:
            return self._weights[adapter]
        except KeyError:
            raise RuntimeError(
                f"no preference is set for the PBLoRA adapter {adapter!r}; call "
                "model.set_preference(Preference(...)) before the forward pass, or disable the adapter"
            ) from None

    def clear(self, adapter: str) -> None:
        """Forget the preference of `adapter`."""
        self._weights.pop(adapter, None)

    @contextmanager
    def using(self, adapter: str, weights: Float[Tensor, "*rows k"], unguided_rows: int = 0) -> Generator[None]:
        """Put `weights` in force for the duration of a `with` block, then what was there before."""
        before, rows_before = self._weights.get(adapter), self.unguided_rows
        self.set(adapter, weights)
        self.unguided_rows = unguided_rows
        try:
            yield
        finally:
            self.unguided_rows = rows_before
            if before is None:
                self.clear(adapter)
            else:
                self._weights[adapter] = before
