"""GUI-Gen, guided inference: π(y_t | x, y_<t, p) ∝ π_s(y_t | x, y_<t) · π_r(y_t | x, y_<t, p)^β."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
