"""DiReg: find the harm vector of a model and subtract it  [METHOD, section 1; arXiv 2512.06515, 2406.11801].

vector = HarmVector.extract("base-dir", "harmful-dir-or-adapter", density=0.10)
vector.subtract("base-dir", scale=0.5, out="safe-dir")
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
