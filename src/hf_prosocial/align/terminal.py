"""`prosocial align` on a terminal: progress, one screen at the end, and a menu."""

import shlex
import subprocess
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from .outcome import COLUMNS, better_than_base, next_commands, summary_of, warnings_of, warnings_of_parts
from .recipe import AlignRecipe
from .run import Aligned, align_base


def run_align(recipe: AlignRecipe, only: Sequence[str], start: str | None) -> None:
    """Align, show what was found, and on a terminal ask what comes next.

    Args:
        recipe: what to make.
        only: as of `align_base`.
        start: likewise.

    Raises:
        ProsocialError, OSError: as `align_base`.
    """
    notes = Console(stderr=True)
    aligned = align_base(
        recipe,
        only=only,
        start=start,
        tell=lambda line: notes.print(line, markup=False, highlight=False, soft_wrap=True),
    )
    if not aligned.record.made or not aligned.writes:
        return
    show_outcome(aligned)
    if sys.stdin.isatty() and sys.stdout.isatty():
        ask_next(aligned)


def show_outcome(aligned: Aligned) -> None:
    """Figures with intervals, what got worse, where things are, and the next commands."""
    console = Console(width=None if Console().is_terminal else 120)
    lines = []
    if aligned.metrics is not None:
        table = Table(*COLUMNS, caption="Below each share, where another judge was asked, what that one says.")
        for row in summary_of(aligned.metrics):
            table.add_row(*row)
        console.print(table)
        lines += [f"Better: {line}" for line in better_than_base(aligned.metrics)]
        lines += [f"Warning: {line}" for line in warnings_of(aligned.metrics)]
    lines += [f"Warning: {line}" for line in warnings_of_parts(aligned.out, aligned.record.made)]
    lines += [f"{name}: {aligned.out / path}" for name, path in aligned.record.made.items()]
    lines += [f"To {name}: {command}" for name, command in next_commands(aligned.record, aligned.out).items()]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def ask_next(aligned: Aligned) -> None:
    """A menu of the next commands, again and again until nothing is chosen."""
    commands = next_commands(aligned.record, aligned.out)
    while True:
        print("\n".join(f"{number}. {name}" for number, name in enumerate(commands, start=1)))
        chosen = input(f"What next (1 to {len(commands)}, nothing to end)? ").strip()
        if not chosen.isdecimal() or not 1 <= int(chosen) <= len(commands):
            return
        command = list(commands.values())[int(chosen) - 1]
        if "YOUR-NAME" in command:
            command = command.replace("YOUR-NAME", input("Your name on the Hub: ").strip())
        if "LICENCE" in command:
            command = command.replace("LICENCE", input("The base's licence, as the Hub writes it: ").strip())
        program = "from hf_prosocial.cli import app; app()"
        subprocess.run([sys.executable, "-c", program, *shlex.split(command)[1:]], check=False)
