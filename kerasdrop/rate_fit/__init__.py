"""The results of `fit_rates`: the fit, and the curve of a group of layers."""

from kerasdrop.rate_fit.curve import RateCurve
from kerasdrop.rate_fit.record import RateFit

__all__ = ["RateCurve", "RateFit"]
