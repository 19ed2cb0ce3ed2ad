"""What a sweep chose, as its folder says."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_prosocial.files import write_json

CHOICE = "choice.json"
"""The file that says it."""


@dataclass(frozen=True)
class Choice:
    """The point that a sweep chose, with its evidence.

    Attributes:
        folder: the sweep's.
        content: of its choice.json: the chosen point, the base's, the reason, and hashes of the data.
    """

    folder: Path
    content: dict[str, Any]

    @property
    def scale(self) -> float:
        """λ.

        Raises:
            ValueError: the base was chosen, so that there is nothing to subtract.
        """
        self._check_edit()
        return float(self.content["chosen"]["scale"])

    @property
    def vector_file(self) -> Path:
        """The chosen vector.

        Raises:
            ValueError: the base was chosen.
        """
        self._check_edit()
        return self.folder / f"{self.content['chosen']['vector']}.safetensors"

    @property
    def pictures(self) -> list[Path]:
        """The fronts, as drawn."""
        return sorted(self.folder.glob("*.png"))

    def copy_to(self, directory: Path, *, vector: str) -> None:
        """Copy what was chosen and the pictures to a directory where the vector has another name."""
        chosen = self.content["chosen"] | {"vector": vector}
        write_json(directory / CHOICE, self.content | {"chosen": chosen})
        for picture in self.pictures:
            shutil.copy(picture, directory / picture.name)

    def _check_edit(self) -> None:
        if self.content["chosen"]["scale"] == 0:
            raise ValueError(f"the sweep in {self.folder} chose the base: {self.content['reason']}")


def scale_beside(vector: str | Path) -> float:
    """λ, as the choice.json beside a vector says.

    Raises:
        ValueError: nothing says it, or the base was chosen.
    """
    if not (Path(vector) / CHOICE).is_file():
        raise ValueError(f"nothing beside {vector} says which λ to take; give one")
    return read_choice(vector).scale


def read_choice(folder: str | Path) -> Choice:
    """Read what the sweep in a folder chose.

    Raises:
        FileNotFoundError: nothing was chosen there.
    """
    folder = Path(folder)
    if not (folder / CHOICE).is_file():
        raise FileNotFoundError(f"{folder} holds no {CHOICE}; run `prosocial direg sweep` into it first")
    return Choice(folder, json.loads((folder / CHOICE).read_text(encoding="utf-8")))
