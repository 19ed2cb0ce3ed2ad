"""PV-ARM, the preference-conditioned autoregressive reward model: its data, its training, its margins, its loading."""

from .arguments import ArmTrainingArguments, PairTrainingArguments
from .base_record import BaseMismatchError, record_base
from .load import load_arm
from .margins import Margins, measure_margins
from .pairs import Pairs, read_pairs, tokenize_rows
from .trainer import ArmTrainer

__all__ = [
    "ArmTrainer",
    "ArmTrainingArguments",
    "BaseMismatchError",
    "Margins",
    "PairTrainingArguments",
    "Pairs",
    "load_arm",
    "measure_margins",
    "read_pairs",
    "record_base",
    "tokenize_rows",
]
