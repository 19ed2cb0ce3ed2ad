"""Harm mitigation only where there is harm: a harm vector at run time, and the probe that says for which prompts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
