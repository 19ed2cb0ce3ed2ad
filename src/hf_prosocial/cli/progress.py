"""Progress of generation, on a terminal only."""

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .replies import OnToken


@contextmanager
def token_progress(console: Console, description: str, tokens: int) -> Generator[OnToken]:
    """A bar over `tokens` steps of generation, advanced by what it yields; nothing is drawn at a pipe."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=tokens)
        yield OnToken(lambda: bar.advance(task))
