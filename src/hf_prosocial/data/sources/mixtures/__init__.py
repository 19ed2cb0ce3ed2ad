"""Mixtures that come with the package."""
