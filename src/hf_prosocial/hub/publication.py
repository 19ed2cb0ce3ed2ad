"""What a directory holds, and whether it may be published."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_prosocial.direg import HarmVector
from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.io import leads_out
from hf_prosocial.records import (
    ADDED,
    CHOICE,
    GATED_NAME,
    RECORD_NAME,
    TRAINING,
    VECTOR_NAME,
    CopyRecord,
    EditRecord,
    GatedVectorRecord,
    TrainingRecord,
    VectorRecord,
    read_json,
    read_publication,
)

Kind = Literal["safe checkpoint", "ARM adapter", "harm vector", "gated harm vector"]

# What each kind is made of; other files of the directory stay where they are, but for a checkpoint, which is a whole.
ADAPTER_CONFIG = "adapter_config.json"
_ARM_FILES = (ADAPTER_CONFIG, "adapter_model.safetensors", TRAINING)


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
    record: EditRecord | TrainingRecord | VectorRecord | GatedVectorRecord
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
    links = [file.name for file in sorted(folder.iterdir()) if leads_out(file)]
    if links:
        raise ProsocialError(f"{folder} has links to files elsewhere, which are not pushed: {', '.join(links)}")
    record = read_publication(folder / RECORD_NAME) if (folder / RECORD_NAME).is_file() else None
    if isinstance(record, CopyRecord):
        raise ProsocialError(f"{folder} holds a {record.kind}; it may comply with harmful requests and is never pushed")
    if (folder / GATED_NAME).is_file():
        gated = GatedHarmVector.from_pretrained(folder).record
        return Publication(folder, "gated harm vector", gated, (folder / GATED_NAME,))
    if (folder / VECTOR_NAME).is_file():
        vector = HarmVector(folder / VECTOR_NAME)
        evidence = [file for file in (folder / CHOICE, *sorted(folder.glob("*.png"))) if file.is_file()]
        return Publication(folder, "harm vector", vector.record, (vector.file, *evidence))
    if (folder / ADAPTER_CONFIG).is_file():
        return _arm(folder)
    if isinstance(record, EditRecord) and (record.made_by == ADDED or record.scale < 0):
        raise ProsocialError(f"{folder} had a harm vector added to it; it may be harmful and is never pushed")
    if isinstance(record, EditRecord) and record.scale == 0:
        raise ProsocialError(
            f"{folder} had a harm vector subtracted 0 times: it is its base, and is not pushed as safer"
        )
    if isinstance(record, EditRecord):
        rendered = ("README.md", RECORD_NAME)
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name not in rendered]
        return Publication(folder, "safe checkpoint", record, tuple(files))
    raise ProsocialError(
        f"{folder} holds no safe checkpoint (`prosocial direg subtract`), no ARM adapter (`prosocial arm train`) and "
        "no harm vector (`prosocial direg extract`, `prosocial direg gate`); nothing else is pushed"
    )


def _arm(folder: Path) -> Publication:
    kind = read_json(folder / ADAPTER_CONFIG).get("peft_type")
    if kind != "PBLORA":
        raise ProsocialError(f"{folder} holds a {kind} adapter; of adapters, only an ARM (PBLORA) is pushed")
    missing = [name for name in _ARM_FILES if not (folder / name).is_file()]
    if missing:
        raise ProsocialError(
            f"{folder} lacks {', '.join(missing)}; `prosocial arm train` and `ArmTrainer.save_model` write them"
        )
    files = [*(folder / name for name in _ARM_FILES), *sorted(folder.glob("training-*.png"))]
    return Publication(folder, "ARM adapter", TrainingRecord.read(folder / TRAINING), tuple(files))
