"""PV-ARM, the preference-conditioned autoregressive reward model: its data, its training, its margins, its loading."""

from .load import BaseMismatchError, load_arm, record_base
from .margins import Margins, measure_margins
from .pairs import Pairs, read_pairs, tokenize_rows
from .trainer import ArmTrainer, ArmTrainingArguments

__all__ = [
    "ArmTrainer",
    "ArmTrainingArguments",
    "BaseMismatchError",
    "Margins",
    "Pairs",
    "load_arm",
    "measure_margins",
    "read_pairs",
    "record_base",
    "tokenize_rows",
]
