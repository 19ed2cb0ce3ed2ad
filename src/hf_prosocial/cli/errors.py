"""How a command ends where something is wrong: one line and an exit code, no traceback."""

from collections.abc import Generator
from contextlib import contextmanager

import typer


@contextmanager
def plain_errors() -> Generator[None]:
    """Turn an error that a user can mend into one line and exit code 1, and Ctrl-C into exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
    except (ValueError, OSError, ImportError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
