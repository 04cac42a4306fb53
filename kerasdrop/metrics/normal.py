"""Metrics of normal distributions: of means with variances."""

import keras

from kerasdrop import _checks
from kerasdrop import _refusals
from kerasdrop import calibration
from kerasdrop import measures
from kerasdrop._formulas import arrays
from kerasdrop._formulas import two_part
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.calibration import scores
from kerasdrop.metrics import means

_register = keras.saving.register_keras_serializable("kerasdrop")


class _MeanOfNormals(means.Mean):
    """The mean of a score of two-part outputs; `_score` is the function."""

    @blame_itself
    def __init__(self, kind: Given, name: str, dtype: str | None) -> None:
        super().__init__(self._values, name=name, dtype=dtype)
        self.kind = _checks.choice(kind, two_part.KINDS, "kind")

    def _values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_pred = means.as_dtype(y_pred, self.dtype)
        with _refusals.blame(type(self).__name__):
            mean, variance = two_part.parts(y_pred, self.kind)
        return self._score(y_true, mean, variance)

    def get_config(self) -> Config:
        return {"name": self.name, "dtype": self.dtype, "kind": self.kind}


@_register
class GaussianNegativeLogLikelihood(_MeanOfNormals):
    """Mean of `kerasdrop.calibration.gaussian_negative_log_likelihood`.

    Args:
        kind: The kind of the predictions, `"mean_and_variance"` or
            `"mean_and_log_variance"`: means in the first half of the last
            axis, variances or their logarithms in the second.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = GaussianNegativeLogLikelihood("mean_and_variance")
    >>> metric.update_state(np.array([[0.0]]), np.array([[0.0, 1.0]]))
    >>> round(float(metric.result()), 4)
    0.9189
    """

    def __init__(
        self,
        kind: Given,
        name: str = "gaussian_negative_log_likelihood",
        dtype: str | None = None,
    ) -> None:
        super().__init__(kind, name, dtype)

    def _values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if not two_part.holds_logs(self.kind):
            return super()._values(y_true, y_pred)
        owner = type(self).__name__
        y_pred = means.as_dtype(y_pred, self.dtype)
        with _refusals.blame(owner):
            mean, log = two_part.parts_in_logs(y_pred, self.kind)
            return scores.log_loss_of_normal(y_true, mean, log)

    def _score(self, y_true: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return calibration.gaussian_negative_log_likelihood(
            y_true, mean, variance, reduction=None
        )


@_register
class GaussianCRPS(_MeanOfNormals):
    """Mean of `kerasdrop.calibration.gaussian_crps`, in the targets' unit.

    Args:
        kind: As in `GaussianNegativeLogLikelihood`.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = GaussianCRPS("mean_and_variance")
    >>> metric.update_state(np.array([[0.0]]), np.array([[0.0, 1.0]]))
    >>> round(float(metric.result()), 4)
    0.2337
    """

    def __init__(
        self, kind: Given, name: str = "gaussian_crps", dtype: str | None = None
    ) -> None:
        super().__init__(kind, name, dtype)

    def _score(self, y_true: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return calibration.gaussian_crps(y_true, mean, variance, reduction=None)


@_register
class Sharpness(_MeanOfNormals):
    """`kerasdrop.measures.sharpness` of all rows; targets are ignored.

    Args:
        kind: As in `GaussianNegativeLogLikelihood`.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = Sharpness("mean_and_variance")
    >>> metric.update_state(
    ...     np.array([[0.0], [0.0]]), np.array([[0.0, 1.0], [0.0, 7.0]])
    ... )
    >>> round(float(metric.result()), 4)
    2.0
    """

    def __init__(
        self, kind: Given, name: str = "sharpness", dtype: str | None = None
    ) -> None:
        super().__init__(kind, name, dtype)

    def _score(self, y_true: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        xp, variance = arrays.floats(variance)
        with _refusals.blame(type(self).__name__):
            return arrays.checked_variance(xp, variance)

    def result(self) -> Tensor:
        """The root of the mean variance so far."""
        return measures.sharpness(super().result())


class _MeanOfIntervals(_MeanOfNormals):
    @blame_itself
    def __init__(
        self, kind: Given, level: float, name: str, dtype: str | None
    ) -> None:
        super().__init__(kind, name, dtype)
        self.level = _checks.between_0_and_1(level, "level")

    def get_config(self) -> Config:
        return {**super().get_config(), "level": self.level}


@_register
class IntervalCoverage(_MeanOfIntervals):
    """Mean of `kerasdrop.calibration.interval_coverage` of central intervals.

    Args:
        kind: As in `GaussianNegativeLogLikelihood`.
        level: Float in (0, 1), the probability of the intervals. The coverage
            should be close to it.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = IntervalCoverage("mean_and_variance", level=0.9)
    >>> metric.update_state(
    ...     np.array([[0.0], [9.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])
    ... )
    >>> round(float(metric.result()), 4)
    0.5
    """

    def __init__(
        self,
        kind: Given,
        level: float = 0.9,
        name: str = "interval_coverage",
        dtype: str | None = None,
    ) -> None:
        super().__init__(kind, level, name, dtype)

    def _score(self, y_true: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        interval = calibration.gaussian_interval(mean, variance, self.level)
        return calibration.interval_coverage(y_true, *interval, reduction=None)


@_register
class IntervalScore(_MeanOfIntervals):
    """Mean of `kerasdrop.calibration.interval_score` of central intervals.

    Args:
        kind: As in `GaussianNegativeLogLikelihood`.
        level: Float in (0, 1), the probability of the intervals.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = IntervalScore("mean_and_variance", level=0.9)
    >>> metric.update_state(np.array([[0.0]]), np.array([[0.0, 1.0]]))
    >>> round(float(metric.result()), 4)  # the width, 2 * 1.6449
    3.2897
    """

    def __init__(
        self,
        kind: Given,
        level: float = 0.9,
        name: str = "interval_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(kind, level, name, dtype)

    def _score(self, y_true: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        interval = calibration.gaussian_interval(mean, variance, self.level)
        return calibration.interval_score(
            y_true, *interval, self.level, reduction=None
        )
