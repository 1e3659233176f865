"""Benchmarks against real peers: `python -m bench NAME [--quick] [--json]`."""
