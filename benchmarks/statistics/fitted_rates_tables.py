"""The tables of benchmarks/statistics/fitted_rates.py."""


def tables(report):
    return ""
