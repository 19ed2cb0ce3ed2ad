"""GenARM, the baseline of PV-ARM: one plain LoRA for each objective, mixed when decoding  [arXiv 2410.08193].

Trained by the same loss, on the same pairs, measured by the same margins; k times the parameters and forward passes.
"""

from .likelihoods import GuidedByGenArm
from .margins import measure_genarm_margins
from .model import GenArm, GenArmRecord
from .processor import GenArmProcessor
from .training import GenArmTrainer, genarm_record, train_genarm

__all__ = [
    "GenArm",
    "GenArmProcessor",
    "GenArmRecord",
    "GenArmTrainer",
    "GuidedByGenArm",
    "genarm_record",
    "measure_genarm_margins",
    "train_genarm",
]
