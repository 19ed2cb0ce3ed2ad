"""GenARM, the baseline of PV-ARM: one plain LoRA for each objective, mixed when decoding  [arXiv 2410.08193].

Trained by the same loss, on the same pairs, measured by the same margins; k times the parameters and forward passes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
