"""Multiple-choice questions, read by line."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import json_rows

from .chat import MalformedRowError, malformed_report, row_of


@dataclass(frozen=True)
class Question:
    """What is asked, the answers without their letters, and the index of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass
class Questions:
    """The rows that can be asked, and those that cannot, by line and reason."""

    rows: list[Question] = field(default_factory=list)
    malformed: dict[int, MalformedRowError] = field(default_factory=dict)

    def report(self) -> str:
        """What was kept and what was left out, every line named."""
        return f"{len(self.rows)} questions; {malformed_report(self.malformed)}"


def read_questions(path: str | Path) -> Questions:
    """Read JSON lines of `{"question": ..., "options": "A. one\\nB. two...", "answer": "A. one"}`.

    Raises:
        ValueError: not one row can be asked.
    """
    questions = _parsed(json_rows(path))
    if not questions.rows:
        raise ProsocialError(f"no row of {path} can be asked; {questions.report()}")
    return questions


def _parsed(rows: Iterable[tuple[int, Any]]) -> Questions:
    found = Questions()
    for line, text in rows:
        try:
            found.rows.append(_question(text))
        except MalformedRowError as error:
            found.malformed[line] = error
    return found


def _question(text: Any) -> Question:
    row = row_of(text, ("question", "options", "answer"))
    options = [option.strip() for option in str(row["options"]).strip().split("\n")]
    answer = str(row["answer"]).strip()
    if answer not in options:
        raise MalformedRowError("no such option", answer)
    # What follows the letter is scored, so that a letter's own probability decides nothing.
    choices = [option.partition(". ")[2] for option in options]
    if not all(choices):
        raise MalformedRowError("an option without a letter", options[choices.index("")])
    return Question(row["question"], tuple(choices), options.index(answer))
