"""How a command ends where something is wrong: one line and an exit code, no traceback unless it is asked for."""

import io
import logging
import re
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import without_known_warnings

DEBUG = "--debug"
# Wrong options, which typer itself tells of. Its newer versions carry a click of their own: so it is had through typer.
_USAGE: Any = typer.BadParameter.__mro__[2]
# What Python's users pass by name, the command's users pass as an option.
_FLAGS = (
    (r"allow_mismatch=\[([^\]]*)\]", lambda found: " ".join(f"--allow-mismatch {name}" for name in _names(found[1]))),
    (r"allow_mismatch may name", lambda found: "--allow-mismatch may name"),
    (r"allow_mismatch=True", lambda found: "--allow-mismatch"),
    (r"\(base_model=, --base-model\)", lambda found: "(--base-model)"),
    (r"overwrite it\b", lambda found: "give --overwrite"),
)

_EXTRAS = {"matplotlib": "report", "gguf": "demo", "accelerate": "train", "torchjd": "train", "lm_eval": "lm-eval"}


class ReportingGroup(TyperGroup):
    """A command whose errors end in one line. `--debug`, wherever it stands, shows the traceback instead."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run the command for the arguments without `--debug`. (click fixes this signature.)"""
        for stream in (sys.stdout, sys.stderr):
            # A console of few characters shows the others by their numbers.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        given = list(sys.argv[1:] if args is None else args)
        self.debug = DEBUG in given
        return super().main([one for one in given if one != DEBUG], *rest, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, with what the library logs on standard error, and without known warnings of others."""
        with _logged(), without_known_warnings(), _reported(self.debug):
            return super().invoke(ctx)


@contextmanager
def _reported(debug: bool) -> Generator[None]:
    try:
        yield
    except (_USAGE, typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        typer.echo(f"error: {said(error)}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def _logged() -> Generator[None]:
    logger, handler = logging.getLogger("hf_prosocial"), logging.StreamHandler(sys.stderr)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


def said(error: Exception) -> str:
    """An error as a user of the command reads it: what was found, and what to do."""
    if isinstance(error, ProsocialError):
        return _with_flags(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {error.filename}"
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, OSError) and first:
        return _with_flags(first)
    if isinstance(error, ImportError) and not str(error.name).startswith("hf_prosocial"):
        extra = _EXTRAS.get(str(error.name), "evaluate")
        return f"{first}; install the extra that brings it: pip install 'hf-prosocial[{extra}]'"
    return f"{type(error).__name__}: {first}; run the command again with {DEBUG} to see where it comes from"


def _with_flags(text: str) -> str:
    for pattern, flag in _FLAGS:
        text = re.sub(pattern, flag, text)
    return text


def _names(listed: str) -> list[str]:
    return re.findall(r"'([^']*)'", listed)
