"""PV-ARM, the preference-conditioned autoregressive reward model: its data, its training, its margins, its loading."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
