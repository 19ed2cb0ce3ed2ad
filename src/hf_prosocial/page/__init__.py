"""A page to talk to a guided model: sliders for the preference, and what guidance changed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
