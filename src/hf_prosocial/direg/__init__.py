"""DiReg: find the harm vector of a model and subtract it  [METHOD, section 1; arXiv 2512.06515, 2406.11801].

vector = HarmVector.extract("base-dir", "harmful-dir-or-adapter", density=0.10)
vector.subtract("base-dir", scale=0.5, out="safe-dir")
"""

from .checkpoint import Checkpoint, open_checkpoint
from .harm_vector import HarmVector
from .record import Scope, TensorRecord, VectorRecord

__all__ = ["Checkpoint", "HarmVector", "Scope", "TensorRecord", "VectorRecord", "open_checkpoint"]
