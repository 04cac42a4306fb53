"""Benchmarks of the cost and the results of the package, next to others."""
