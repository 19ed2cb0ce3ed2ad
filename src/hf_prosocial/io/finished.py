"""Trainings whose last step was taken already."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Trainer


def take_finished(trainer: "Trainer", checkpoint: str | None) -> bool:
    """Take a checkpoint's weights and state where it is of the last of `max_steps`; whether it is.

    transformers.Trainer, asked to go on from such a checkpoint in the middle of an epoch, trains one step more.

    Raises:
        OSError, ValueError: no readable trainer_state.json in the checkpoint.
    """
    if checkpoint is None or trainer.args.max_steps <= 0:
        return False
    file = Path(checkpoint) / "trainer_state.json"
    if json.loads(file.read_text(encoding="utf-8"))["global_step"] < trainer.args.max_steps:
        return False
    trainer._load_from_checkpoint(checkpoint)
    trainer.state = type(trainer.state).load_from_json(str(file))
    return True
