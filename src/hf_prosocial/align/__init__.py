"""A user's own model, in one command: data, safe base, ARM, evidence, cards."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
