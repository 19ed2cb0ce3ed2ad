"""`prosocial evaluate`: variants of a model on benchmarks, to figures with intervals and a report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
