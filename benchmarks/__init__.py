"""Figures of this package, side by side: `python -m benchmarks NAME`, or `all`."""
