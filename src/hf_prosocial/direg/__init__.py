"""DiReg: find the harm vector of a model and subtract it  [METHOD, section 1; arXiv 2512.06515, 2406.11801].

vector = HarmVector.extract("base-dir", "harmful-dir-or-adapter", density=0.10)
vector.subtract("base-dir", scale=0.5, out="safe-dir")
"""

from typing import TYPE_CHECKING

from .checkpoint import Checkpoint, open_checkpoint
from .record import Scope, TensorRecord, VectorRecord

if TYPE_CHECKING:
    from .harm_vector import HarmVector

__all__ = ["Checkpoint", "HarmVector", "Scope", "TensorRecord", "VectorRecord", "open_checkpoint"]


def __getattr__(name: str) -> object:
    # Loaded when first asked for: it needs torch, which takes longer to load than subtracting from a file takes.
    if name == "HarmVector":
        from .harm_vector import HarmVector

        return HarmVector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
