"""Figures for docs/bench.md: each beside the raw floor, taken in the same run. ``python -m bench --help``."""
