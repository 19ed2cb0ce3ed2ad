"""Where bases come from and what they are; their replies, and how likely they find a text."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
