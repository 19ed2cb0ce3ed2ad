"""Whose preference a model guides by, where several threads or tasks use it."""

from contextvars import ContextVar
from weakref import WeakKeyDictionary

from hf_prosocial.errors import ProsocialError

from .lanes import Lanes

_chosen: ContextVar["WeakKeyDictionary[OwnPreference, Lanes] | None"] = ContextVar("hf_prosocial_chosen", default=None)


class OwnPreference:
    """The preference that a model was made with, until one is set; then each thread or task has what it set itself.

    Args:
        first: what the model was made with.
    """

    def __init__(self, first: Lanes) -> None:
        self._first = first
        self._was_set = False

    def set(self, lanes: Lanes) -> None:
        """Guide by other preferences from now on, in this thread or task."""
        fresh: WeakKeyDictionary[OwnPreference, Lanes] = WeakKeyDictionary(_chosen.get() or {})
        fresh[self] = lanes
        _chosen.set(fresh)
        self._was_set = True

    def get(self) -> Lanes:
        """What guides in this thread or task.

        Raises:
            ProsocialError: others set a preference, and this one did not, so that nothing tells which one is meant.
        """
        own = (_chosen.get() or {}).get(self)
        if own is None and self._was_set:
            raise ProsocialError(
                "set_preference was called in another thread, and holds there alone, because a service answers several "
                "people at once; pass generate(..., preference=...)"
            )
        return self._first if own is None else own
