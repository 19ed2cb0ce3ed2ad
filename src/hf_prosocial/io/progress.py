"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys

from tqdm.auto import tqdm

_AT_FIRST, _BETWEEN = 20, 60  # seconds


def progress_bar(total: int, description: str, unit: str, *, done: int = 0) -> tqdm:
    """A bar over `total` units, `done` of them behind us; bytes ("B") are scaled.

    Where standard error is no terminal, work of less than 20 seconds says nothing, longer work something every minute.
    """
    on_terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        initial=done,
        unit_scale=unit == "B",
        leave=not on_terminal,
        delay=0 if on_terminal else _AT_FIRST,
        mininterval=0.1 if on_terminal else _BETWEEN,
        maxinterval=10 if on_terminal else _BETWEEN,
    )
