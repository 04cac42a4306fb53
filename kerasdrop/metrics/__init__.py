"""The functions of `measures` and `calibration` as streaming `keras.metrics`.

For `model.compile(metrics=[...])`, `weighted_metrics`, a loop of your own
and `MonteCarlo.compile`, which judges the predictive mean. What is streamed
over batches is what the function gives for all rows at once, to rounding.

The adaptive calibration error and the risk-coverage curve are missing here:
both sort all rows, and no sum over batches replaces that. Measures of several
samples (mutual information, votes) are in what `mc_predict` returns.

In a compiled step values cannot be checked: a metric of what is no probability,
no class or no variance is NaN from then on, whatever its weight; so give
padding a class and a weight of 0. So is one of no rows, or of weights that are
all 0. For logits pass `from_logits=True`.

A plain metric of a model in training sees one network without dropout, in
validation too: these numbers are those of the model as it stands, not of its
Monte Carlo prediction.
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
