"""Where an interrupted training can go on."""

import json
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

_OTHER_FILES = ("optimizer.pt", "scheduler.pt")


def last_whole_checkpoint(output_dir: str | Path) -> Path | None:
    """The last `checkpoint-N` of a `Trainer`'s output that was written to its end; None where there is none.

    Trainer writes trainer_state.json after the weights and the optimiser, so that a kill in the middle leaves a
    directory without it.
    """
    found = {}
    for folder in Path(output_dir).glob("checkpoint-*"):
        step = re.fullmatch(r"checkpoint-(\d+)", folder.name)
        if step and _is_whole(folder):
            found[int(step.group(1))] = folder
    return found[max(found)] if found else None


def _is_whole(folder: Path) -> bool:
    try:
        json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        with safe_open(folder / "adapter_model.safetensors", framework="np"):
            pass
    except (OSError, ValueError, SafetensorError):
        return False
    return all((folder / name).is_file() for name in _OTHER_FILES)
