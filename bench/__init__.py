"""Benchmarks: how fast execplane is beside a fixed bar and, where there is one, a known system. See `__main__`."""
