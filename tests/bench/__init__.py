"""Measurements, each a module: `python -m tests.bench` prints one table of them."""
