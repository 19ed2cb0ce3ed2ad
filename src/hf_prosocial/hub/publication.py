"""What a directory holds, and whether it may be published."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hf_prosocial.direg import HarmVector
from hf_prosocial.direg.choice import CHOICE
from hf_prosocial.direg.record import RECORD_NAME, VECTOR_NAME

Kind = Literal["safe checkpoint", "ARM adapter", "harm vector"]
TRAINING = "training.json"

# What each kind is made of; other files of the directory stay where they are, but for a checkpoint, which is a whole.
_ARM_FILES = ("adapter_config.json", "adapter_model.safetensors", TRAINING)


@dataclass(frozen=True)
class Publication:
    """A directory that may be published.

    Attributes:
        folder: the directory.
        kind: what it holds.
        record: prosocial.json of a checkpoint, training.json of an ARM, a vector's own.
        files: what goes to the Hub as it stands.
    """

    folder: Path
    kind: Kind
    record: dict[str, Any]
    files: tuple[Path, ...]


def open_publication(directory: str | Path) -> Publication:
    """Look at a directory and refuse what must not be published.

    Raises:
        FileNotFoundError: no such directory.
        ValueError: a copy that was fine-tuned for a harm vector, a checkpoint that such a vector was added to, or
            nothing that this package made.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"no directory {folder}")
    record = _read(folder / RECORD_NAME)
    if record.get("kind") is not None:
        raise ValueError(f"{folder} holds a {record['kind']}; it may comply with harmful requests and is never pushed")
    if (folder / VECTOR_NAME).is_file():
        vector = HarmVector(folder / VECTOR_NAME)
        evidence = [file for file in (folder / CHOICE, *sorted(folder.glob("*.png"))) if file.is_file()]
        return Publication(folder, "harm vector", vector.record.to_dict(), (vector.file, *evidence))
    if (folder / "adapter_config.json").is_file():
        return _arm(folder)
    if record.get("made_by") == "HarmVector.add":
        raise ValueError(f"{folder} had a harm vector added to it; it may be harmful and is never pushed")
    if record.get("made_by") == "HarmVector.subtract":
        rendered = ("README.md", RECORD_NAME)
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name not in rendered]
        return Publication(folder, "safe checkpoint", record, tuple(files))
    raise ValueError(
        f"{folder} holds no safe checkpoint (`prosocial direg subtract`), no ARM adapter (`prosocial arm train`) and "
        "no harm vector (`prosocial direg extract`); nothing else is pushed"
    )


def _arm(folder: Path) -> Publication:
    kind = _read(folder / "adapter_config.json").get("peft_type")
    if kind != "PBLORA":
        raise ValueError(f"{folder} holds a {kind} adapter; of adapters, only an ARM (PBLORA) is pushed")
    missing = [name for name in _ARM_FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}; `prosocial arm train` writes them when it is done")
    files = [*(folder / name for name in _ARM_FILES), *sorted(folder.glob("training-*.png"))]
    return Publication(folder, "ARM adapter", _read(folder / TRAINING), tuple(files))


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no JSON object")
    return content
