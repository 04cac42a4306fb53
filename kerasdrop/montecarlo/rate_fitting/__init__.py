"""Fitting inference rates to validation data: `fit_rates`."""
