"""The functions of `measures` and `calibration` as streaming `keras.metrics`.

Use them in `model.compile(metrics=[...])`, `weighted_metrics`, your own loop,
and `MonteCarlo.compile`, which evaluates the predictive mean. Streamed over
batches, they give the value of the function for all rows, up to rounding.

The adaptive calibration error and the risk-coverage curve are missing here,
because both sort all rows. Measures of several samples (mutual information,
votes) are in the result of `mc_predict`.

A compiled step cannot check values: an illegal probability, class or variance
makes the metric NaN, whatever its weight. Give padding a class and a weight of
0. The metric of no rows, or of weights that are all 0, is NaN as well. For
logits pass `from_logits=True`.

In `model.compile`, a metric evaluates a single network, in validation without
dropout. It describes the model as it is, not its Monte Carlo prediction.
"""

from kerasdrop.metrics.classes import BrierScore
from kerasdrop.metrics.classes import Confidence
from kerasdrop.metrics.classes import Entropy
from kerasdrop.metrics.classes import ExpectedCalibrationError
from kerasdrop.metrics.classes import NegativeLogLikelihood
from kerasdrop.metrics.normal import GaussianCRPS
from kerasdrop.metrics.normal import GaussianNegativeLogLikelihood
from kerasdrop.metrics.normal import IntervalCoverage
from kerasdrop.metrics.normal import IntervalScore
from kerasdrop.metrics.normal import Sharpness

__all__ = [
    "BrierScore",
    "Confidence",
    "Entropy",
    "ExpectedCalibrationError",
    "GaussianCRPS",
    "GaussianNegativeLogLikelihood",
    "IntervalCoverage",
    "IntervalScore",
    "NegativeLogLikelihood",
    "Sharpness",
]
