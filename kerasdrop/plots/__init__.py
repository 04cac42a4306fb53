"""Plots of uncertainty and of rates: `ax` in, `ax` out.

The plots need matplotlib: `pip install "kerasdrop[plots]"`. `import kerasdrop`
does not load it; the first plot does.

Each function draws on the given axes, or on new ones, adds labels and returns
the axes. It leaves everything else (titles, legends, saving, showing) to the
caller: `plots.rate_history(history).figure.savefig("rates.png")`. Plots of
images take and return one axes object for each panel, as `axes`.
"""

from kerasdrop.plots.curves import ood_detection
from kerasdrop.plots.curves import reliability
from kerasdrop.plots.curves import risk_coverage
from kerasdrop.plots.images import least_certain
from kerasdrop.plots.images import uncertainty_map
from kerasdrop.plots.intervals import predictive_intervals
from kerasdrop.plots.rates import rate_curve
from kerasdrop.plots.rates import rate_history
from kerasdrop.plots.shares import variance_shares

__all__ = [
    "least_certain",
    "ood_detection",
    "predictive_intervals",
    "rate_curve",
    "rate_history",
    "reliability",
    "risk_coverage",
    "uncertainty_map",
    "variance_shares",
]
