"""`prosocial`: parses and prints, nothing else. Commands import what they need when they run: --help is quick."""

from .app import app

__all__ = ["app"]
