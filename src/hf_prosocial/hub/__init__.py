"""What goes to the Hub: model cards, and pushing what may be pushed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
