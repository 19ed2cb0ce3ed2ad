"""Lists in messages, which stay short however much there is to say."""

from collections.abc import Sequence

_SHOWN = 10


def listed(items: Sequence[object]) -> str:
    """The first ten, and how many more there are.

    >>> listed(["a", "b"])
    'a, b'
    >>> listed(range(1, 15))
    '1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and 4 more'
    """
    more = f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(map(str, items[:_SHOWN])) + more
