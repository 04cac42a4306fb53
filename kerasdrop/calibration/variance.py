"""Variances made wider or narrower by one factor."""

import numpy as np

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import ArrayLike
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.calibration import inputs
from kerasdrop.calibration import predictions
from kerasdrop.calibration.saved import Calibrator


class VarianceScaling(Calibrator):
    """Multiplies variances by one factor, which `fit_variance_scale` finds.

    Args:
        scale: Float above 0, the factor of the variance. The widths of
            intervals change by its square root.

    Call arguments:
        variance: `(rows, ...)`; or the result of `mc_predict`, of which it uses
            the `total_variance`, or the `variance` if there is no total one.

    Returns (of a call):
        Variances `(rows, ...)`.

    Raises:
        ValueError: If the scale is not above 0, or an array holds a variance
            below 0.

    Example:

    >>> scaling = VarianceScaling(4.0)
    >>> scaling(np.array([1.0, 0.25]))
    array([4., 1.])

    Reference: [Laves et al., 2020](
    https://proceedings.mlr.press/v121/laves20a.html).
    """

    @blame("VarianceScaling")
    def __init__(self, scale: float) -> None:
        self.scale = _checks.positive_number(scale, "scale")

    @blame("VarianceScaling")
    def __call__(self, variance: Tensor) -> Tensor:
        xp, variance = arrays.floats(predictions.spread(variance))
        return self.scale * arrays.checked_variance(xp, variance)

    def get_config(self) -> Config:
        """The arguments of the constructor: a dict that JSON can hold."""
        return {"scale": self.scale}

    def __repr__(self) -> str:
        return f"VarianceScaling(scale={self.scale:.6g})"


@blame("fit_variance_scale")
def fit_variance_scale(
    targets: ArrayLike,
    prediction: Given,
    variance: Tensor | None = None,
    sample_weight: ArrayLike | None = None,
) -> VarianceScaling:
    """Finds the factor of the variance that makes the targets most likely.

    For normal distributions it has a closed form: the mean of the squared
    residuals divided by their variances. Fit it on rows that the model was not
    trained on. It scales all intervals by one factor, so their order stays the
    same, and it does not correct a biased mean.

    Args:
        targets: `(rows, ...)`.
        prediction: The mean, `(rows, ...)`; or the result of `mc_predict`, of
            which it uses the mean and the `total_variance`, or the `variance`
            if there is no total one.
        variance: `(rows, ...)`, above 0; None with a result of `mc_predict`.
        sample_weight: `(rows,)`, or None.

    Returns:
        A `VarianceScaling`.

    Raises:
        ValueError: If the shapes do not agree, a number is not finite, or a
            variance is not above 0; if all targets are predicted exactly, so
            that no factor is the best.

    Example:

    >>> fit_variance_scale([-2.0, 2.0], np.zeros(2), np.ones(2))
    VarianceScaling(scale=4)

    Reference: [Laves et al., 2020](
    https://proceedings.mlr.press/v121/laves20a.html).
    """
    mean, variance = map(
        predictions.as_numpy, predictions.moments(prediction, variance)
    )
    targets = predictions.finite_targets(targets)
    _, targets, mean, variance = inputs.normal(targets, mean, variance)
    predictions.check_finite(mean, "means")
    predictions.check_finite(variance, "variances")
    squared = np.square(targets - mean) / variance
    weight = arrays.weight_like(
        np, predictions.as_numpy(sample_weight), squared
    )
    total = np.sum(weight * squared)
    scale = arrays.weighted(np, total, np.sum(weight))
    if not 0.0 < scale < np.inf:
        raise Refusal(
            f"there is no best factor, because the mean of the squared "
            "residuals over their variances must be above 0 and finite. Fit "
            f"on rows that the model was not trained on. Received: {scale:.6g}"
        )
    return VarianceScaling(float(scale))
