"""What a sweep chose, as its folder says."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from hf_prosocial.errors import ProsocialError

from .record import Number, Record

CHOICE = "choice.json"
"""The file that says it."""


@dataclass(frozen=True)
class ChoicePoint:
    """One point of a sweep: a vector's name, λ, and what was measured there by name."""

    vector: str
    scale: float
    figures: dict[str, Number]


@dataclass(frozen=True)
class ChoiceRecord(Record):
    """What stands in choice.json.

    Attributes:
        chosen, base: the chosen point, and the base's.
        reason: why.
        data: SHA-256 of each file that was measured on, by its name.
        held_out: the share of the prompts of its rows that was measured on.
        text_tokens, question_count, prompt_count: how much of each file; None is all.
    """

    chosen: ChoicePoint
    base: ChoicePoint
    reason: str
    data: dict[str, str]
    held_out: float
    text_tokens: int | None
    question_count: int | None
    prompt_count: int | None


@dataclass(frozen=True)
class Choice:
    """The point that a sweep chose, with its evidence.

    Attributes:
        folder: the sweep's.
        record: its choice.json.
    """

    folder: Path
    record: ChoiceRecord

    @property
    def scale(self) -> float:
        """λ.

        Raises:
            ProsocialError: the base was chosen, so that there is nothing to subtract.
        """
        self._check_edit()
        return self.record.chosen.scale

    @property
    def vector_file(self) -> Path:
        """The chosen vector.

        Raises:
            ProsocialError: the base was chosen.
        """
        self._check_edit()
        return self.folder / f"{self.record.chosen.vector}.safetensors"

    @property
    def pictures(self) -> list[Path]:
        """The fronts, as drawn."""
        return sorted(self.folder.glob("*.png"))

    def copy_to(self, directory: Path, *, vector: str) -> None:
        """Copy what was chosen and the pictures to a directory where the vector has another name."""
        replace(self.record, chosen=replace(self.record.chosen, vector=vector)).write(directory / CHOICE)
        for picture in self.pictures:
            shutil.copy(picture, directory / picture.name)

    def _check_edit(self) -> None:
        if self.record.chosen.scale == 0:
            raise ProsocialError(f"the sweep in {self.folder} chose the base: {self.record.reason}")


def scale_beside(vector: str | Path) -> float:
    """λ, as the choice.json beside a vector says.

    Raises:
        ProsocialError: nothing says it, or the base was chosen.
    """
    if not (Path(vector) / CHOICE).is_file():
        raise ProsocialError(f"nothing beside {vector} says which λ to take; give one")
    return read_choice(vector).scale


def read_choice(folder: str | Path) -> Choice:
    """Read what the sweep in a folder chose.

    Raises:
        FileNotFoundError: nothing was chosen there.
        ProsocialError: choice.json is none.
    """
    folder = Path(folder)
    if not (folder / CHOICE).is_file():
        raise FileNotFoundError(f"{folder} holds no {CHOICE}; run `prosocial direg sweep` into it first")
    return Choice(folder, ChoiceRecord.read(folder / CHOICE))
