"""The rates that data choose: `fit_rates`."""
