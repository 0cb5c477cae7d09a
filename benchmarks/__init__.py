"""Timings and peaks of memory: `python -m benchmarks.NAME --help`."""
