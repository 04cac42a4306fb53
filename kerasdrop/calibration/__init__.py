"""How well predicted uncertainty agrees with labels, and its correction.

Targets come first, as in `keras.metrics`. Classes are integers `(rows, ...)`
or one-hot vectors `(rows, ..., classes)`. Probabilities are `(rows, ...,
classes)`, such as `result.mean`, or `(rows, ..., 1)` for the positive class.
Each function returns one number; `reduction=None` gives the score of each row
where there is one, for example to compute a standard error.

NumPy arrays and lists give NumPy numbers of float64. They are checked: an
illegal probability, class or variance raises an error. Tensors give tensors,
also in a compiled step. Their values cannot be checked there; an illegal
probability, class or variance makes the score NaN. `kerasdrop.metrics` has the
same scores as streaming metrics, for `model.compile`.

The `fit_...` functions correct a prediction. They learn from rows with targets
and accept arrays or the result of `mc_predict`. They return an object that you
call with further predictions; its method `save` saves it, and `load` reads it.

None of these scores is a proof. With few rows, a calibration error is too high
by chance. It can also be low without any accuracy; the proper scores (Brier,
negative log-likelihood, CRPS, interval score) do not reward that.
"""

from kerasdrop.calibration.binning import Reliability
from kerasdrop.calibration.binning import adaptive_calibration_error
from kerasdrop.calibration.binning import expected_calibration_error
from kerasdrop.calibration.binning import reliability
from kerasdrop.calibration.conformal_intervals import ConformalIntervals
from kerasdrop.calibration.conformal_intervals import fit_conformal_intervals
from kerasdrop.calibration.conformal_sets import ConformalSets
from kerasdrop.calibration.conformal_sets import fit_conformal_sets
from kerasdrop.calibration.intervals import gaussian_interval
from kerasdrop.calibration.intervals import gaussian_reliability
from kerasdrop.calibration.intervals import interval_coverage
from kerasdrop.calibration.intervals import interval_score
from kerasdrop.calibration.ood import OODDetection
from kerasdrop.calibration.ood import ood_detection
from kerasdrop.calibration.recalibration import QuantileRecalibration
from kerasdrop.calibration.recalibration import fit_quantiles
from kerasdrop.calibration.saved import load
from kerasdrop.calibration.scores import brier_score
from kerasdrop.calibration.scores import gaussian_crps
from kerasdrop.calibration.scores import gaussian_negative_log_likelihood
from kerasdrop.calibration.scores import negative_log_likelihood
from kerasdrop.calibration.scores import sample_crps
from kerasdrop.calibration.selection import RiskCoverage
from kerasdrop.calibration.selection import area_under_risk_coverage
from kerasdrop.calibration.selection import risk_coverage
from kerasdrop.calibration.temperature import TemperatureScaling
from kerasdrop.calibration.temperature import fit_temperature
from kerasdrop.calibration.variance import VarianceScaling
from kerasdrop.calibration.variance import fit_variance_scale

__all__ = [
    "ConformalIntervals",
    "ConformalSets",
    "OODDetection",
    "QuantileRecalibration",
    "Reliability",
    "RiskCoverage",
    "TemperatureScaling",
    "VarianceScaling",
    "adaptive_calibration_error",
    "area_under_risk_coverage",
    "brier_score",
    "expected_calibration_error",
    "fit_conformal_intervals",
    "fit_conformal_sets",
    "fit_quantiles",
    "fit_temperature",
    "fit_variance_scale",
    "gaussian_crps",
    "gaussian_interval",
    "gaussian_negative_log_likelihood",
    "gaussian_reliability",
    "interval_coverage",
    "interval_score",
    "load",
    "negative_log_likelihood",
    "ood_detection",
    "reliability",
    "risk_coverage",
    "sample_crps",
]
