"""Margins on held-out pairs, beside the adapters that they are of."""

import logging
from dataclasses import replace
from pathlib import Path

from hf_prosocial.records import TRAINING, TrainingRecord

from .margins import Margins
from .report import margin_summary, margin_table

logger = logging.getLogger(__name__)


def measure_on_dev(directory: str | Path, margins: Margins) -> None:
    """Add margins to the training.json of a directory, from which its card has them.

    Args:
        directory: that `ArmTrainer.save_model` wrote to.
        margins: from `measure_margins`, on pairs that were not trained on.

    Raises:
        FileNotFoundError: no training.json there.
    """
    file = Path(directory) / TRAINING
    summary = margin_summary(margins)
    logger.info("%s", margin_table(summary))
    replace(TrainingRecord.read(file), dev=summary).write(file)
