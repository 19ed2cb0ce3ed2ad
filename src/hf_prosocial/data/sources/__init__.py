"""Data that anyone can build: mixtures of public sources, fetched by their hashes, converted, split by group."""
