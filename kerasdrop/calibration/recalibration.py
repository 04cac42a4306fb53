"""Quantiles of a predictive distribution, corrected on calibration rows."""

import math

import numpy as np

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._formulas import target_shapes
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import ArrayLike
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.calibration import inputs
from kerasdrop.calibration import predictions
from kerasdrop.calibration.saved import Calibrator
from kerasdrop.calibration.saved import finite_column


class QuantileRecalibration(Calibrator):
    """Quantiles that were right on calibration rows, made by `fit_quantiles`.

    The residuals of n rows are divided by their predicted standard deviations
    and sorted. The k-th of them is the quantile of `k / (n + 1)`; between two
    neighbours it is interpolated. The quantile of a row is its mean plus its
    standard deviation times that number.

    Args:
        residuals: n finite numbers, `(target - mean) / std`, in any order.

    Call arguments:
        prediction: The mean, `(rows, ...)`, or the result of `mc_predict`.
        variance: `(rows, ...)`; None with a result of `mc_predict`.
        quantiles: Floats from `1 / (n + 1)` to `n / (n + 1)`.

    Returns (of a call):
        `(rows, quantiles, ...)`, as `result.quantiles`.

    Raises:
        ValueError: If there are too few calibration rows for a quantile (the
            message says how many it needs); if the shapes do not agree, or an
            array holds a variance that is not above 0.

    Example:

    >>> residuals = np.arange(-9.0, 10.0)  # of 19 rows
    >>> recalibration = QuantileRecalibration(residuals)
    >>> recalibration(np.array([0.0]), np.array([1.0]), quantiles=(0.05, 0.95))
    array([[-9.,  9.]])

    Reference: [Kuleshov, Fenner & Ermon, 2018](
    https://arxiv.org/abs/1807.00263), algorithm 1.
    """

    @blame("QuantileRecalibration")
    def __init__(self, residuals: ArrayLike) -> None:
        column = finite_column(residuals, "residuals")
        self.residuals = np.sort(column)

    @blame("QuantileRecalibration")
    def __call__(
        self,
        prediction: Given,
        variance: Tensor | None = None,
        quantiles: ArrayLike = (0.05, 0.95),
    ) -> Tensor:
        mean, variance = predictions.moments(prediction, variance)
        xp, mean, variance = arrays.floats(mean, variance)
        if not len(mean.shape):
            raise Refusal("a mean is `(rows, ...)`. Received: a single number")
        variance = target_shapes.like(
            variance, mean, "a variance for each mean"
        )
        std = xp.sqrt(arrays.checked_variance(xp, variance, above_zero=True))
        quantiles = _checks.sequence(quantiles, "quantiles")
        return xp.stack(
            [mean + std * self._residual_of(each) for each in quantiles],
            axis=1,
        )

    def _residual_of(self, quantile: float) -> float:
        rows = len(self.residuals)
        exact = _checks.exact_fraction(
            _checks.between_0_and_1(quantile, "quantiles")
        )
        place = exact * (rows + 1)
        if not 1 <= place <= rows:
            needed = math.ceil(1 / min(exact, 1 - exact)) - 1
            raise Refusal(
                f"{rows} rows cannot tell the quantile of "
                f"{quantile:g}, which needs {needed}. Fit on more rows, or "
                f"request quantiles from {1 / (rows + 1):.4g} to "
                f"{rows / (rows + 1):.4g}"
            )
        places = np.arange(1, rows + 1)
        return float(np.interp(float(place), places, self.residuals))

    def get_config(self) -> Config:
        """The arguments of the constructor: a dict that JSON can hold."""
        return {"residuals": self.residuals.tolist()}

    def __repr__(self) -> str:
        return f"QuantileRecalibration({len(self.residuals)} rows)"


@blame("fit_quantiles")
def fit_quantiles(
    targets: ArrayLike, prediction: Given, variance: Tensor | None = None
) -> QuantileRecalibration:
    """Isotonic recalibration of the predictive distribution.

    For each predicted level it learns which fraction of the targets was below.
    This is the isotonic regression of the empirical distribution, which equals
    that distribution. It divides by n + 1, where Kuleshov et al. divide by n,
    and is therefore exact on average. If a new row is exchangeable with these n
    and there are no ties, its target lies below the quantile of `k / (n + 1)`
    with exactly that probability.

    It interpolates linearly between two residuals, and not between two
    predicted levels as in the paper. The points are the same, but the level of
    a target 40 standard deviations away rounds to 1 and could not be inverted.

    Args:
        targets: `(rows,)` or `(rows, 1)`.
        prediction: The mean, one number for each row; or the result of
            `mc_predict`, of which it uses the mean and the `total_variance`, or
            the `variance` if there is no total one.
        variance: One number above 0 for each row; None with a result of
            `mc_predict`.

    Returns:
        A `QuantileRecalibration`.

    Raises:
        ValueError: If there are several numbers for a row, the shapes do not
            agree, a number is not finite, or a variance is not above 0.

    Example:

    >>> targets = np.arange(-9.0, 10.0)  # of 19 rows
    >>> recalibration = fit_quantiles(targets, np.zeros(19), np.ones(19))
    >>> recalibration(np.array([0.0]), np.array([1.0]), quantiles=(0.05, 0.95))
    array([[-9.,  9.]])

    Reference: [Kuleshov, Fenner & Ermon, 2018](
    https://arxiv.org/abs/1807.00263), algorithm 1.
    """
    mean, variance = map(
        predictions.as_numpy, predictions.moments(prediction, variance)
    )
    targets = predictions.finite_targets(targets)
    _, targets, mean, variance = inputs.normal(targets, mean, variance)
    residuals = (targets - mean) / np.sqrt(variance)
    residuals = predictions.column(np, residuals)
    predictions.check_finite(residuals, "residuals over deviations")
    return QuantileRecalibration(residuals)
