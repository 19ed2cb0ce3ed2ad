"""State that belongs to the thread that generates."""

import threading


class PerThread(threading.local):
    """Attributes of which each thread has its own: threads generate different texts at a time.

    A copy begins anew, with what the class or its `__init__` sets.
    """

    def __reduce__(self) -> tuple[type["PerThread"], tuple[()]]:
        """As above: what is held is the thread's."""
        return type(self), ()
