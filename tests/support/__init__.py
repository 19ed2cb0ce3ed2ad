"""What tests share: pico-models, data, oracles, and ways of running things."""

from . import typecheck  # noqa: F401  The annotations' checker is looked up here.
