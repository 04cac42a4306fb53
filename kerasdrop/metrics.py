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

import keras
from keras import ops

from kerasdrop import _checks
from kerasdrop import _refusals
from kerasdrop import calibration
from kerasdrop import measures
from kerasdrop._formulas import arrays
from kerasdrop._formulas import two_part
from kerasdrop._refusals import blame_itself
from kerasdrop._types import ArrayLike
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.calibration import binning
from kerasdrop.calibration import scores

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

_register = keras.saving.register_keras_serializable("kerasdrop")


class _Mean(keras.metrics.MeanMetricWrapper):
    """A mean that is NaN if there are no rows, where that of Keras is 0.

    For a score whose best is 0, that would be praise.
    """

    def result(self) -> Tensor:
        """The mean of the rows so far; NaN if there are none."""
        return ops.divide(self.total, ops.cast(self.count, self.dtype))


class _MeanOfClasses(_Mean):
    """The mean of a score of probabilities; `_score` is the function."""

    @blame_itself
    def __init__(self, from_logits: bool, name: str, dtype: str | None) -> None:
        super().__init__(self._values, name=name, dtype=dtype)
        self.from_logits = _checks.flag(from_logits, "from_logits")

    def _values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        p = _probabilities(y_pred, self.from_logits, self.dtype)
        return self._score(y_true, p)

    def get_config(self) -> Config:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "from_logits": self.from_logits,
        }


@_register
class NegativeLogLikelihood(_MeanOfClasses):
    """Mean of `kerasdrop.calibration.negative_log_likelihood`, in nats.

    Unlike `keras.metrics.SparseCategoricalCrossentropy` it clips nothing, and
    takes integers as well as one-hot targets, and one probability of yes. A
    target that was said to be impossible makes it infinite, or NaN if the
    weight of the row is 0.

    Args:
        from_logits: Whether predictions are logits, not probabilities.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = NegativeLogLikelihood()
    >>> metric.update_state(np.array([0]), np.array([[0.5, 0.5]]))
    >>> round(float(metric.result()), 4)
    0.6931
    >>> model.compile("adam", "categorical_crossentropy", metrics=[metric])
    """

    def __init__(
        self,
        from_logits: bool = False,
        name: str = "negative_log_likelihood",
        dtype: str | None = None,
    ) -> None:
        super().__init__(from_logits, name, dtype)

    def _values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if not self.from_logits:
            return super()._values(y_true, y_pred)
        logits = _logits(y_pred, self.dtype)
        with _refusals.blame(type(self).__name__):
            return scores.log_loss_of_logits(y_true, logits)

    def _score(self, y_true: Tensor, p: Tensor) -> Tensor:
        return calibration.negative_log_likelihood(y_true, p, reduction=None)


@_register
class BrierScore(_MeanOfClasses):
    """Mean of `kerasdrop.calibration.brier_score`, from 0 to 2.

    Args:
        from_logits: Whether predictions are logits, not probabilities.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = BrierScore()
    >>> metric.update_state(np.array([0]), np.array([[0.8, 0.2]]))
    >>> round(float(metric.result()), 4)
    0.08
    """

    def __init__(
        self,
        from_logits: bool = False,
        name: str = "brier_score",
        dtype: str | None = None,
    ) -> None:
        super().__init__(from_logits, name, dtype)

    def _score(self, y_true: Tensor, p: Tensor) -> Tensor:
        return calibration.brier_score(y_true, p, reduction=None)


@_register
class Entropy(_MeanOfClasses):
    """Mean of `kerasdrop.measures.entropy` of the predictions, in nats.

    Targets are not looked at.

    Args:
        from_logits: Whether predictions are logits, not probabilities.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = Entropy()
    >>> metric.update_state(np.array([0]), np.array([[0.5, 0.5]]))
    >>> round(float(metric.result()), 4)
    0.6931
    """

    def __init__(
        self,
        from_logits: bool = False,
        name: str = "entropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(from_logits, name, dtype)

    def _score(self, y_true: Tensor, p: Tensor) -> Tensor:
        return measures.entropy(p)


@_register
class Confidence(_MeanOfClasses):
    """Mean of `kerasdrop.measures.confidence` of the predictions.

    Targets are not looked at. Above the accuracy: overconfident.

    Args:
        from_logits: Whether predictions are logits, not probabilities.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = Confidence()
    >>> metric.update_state(np.array([0]), np.array([[0.8, 0.2]]))
    >>> round(float(metric.result()), 4)
    0.8
    """

    def __init__(
        self,
        from_logits: bool = False,
        name: str = "confidence",
        dtype: str | None = None,
    ) -> None:
        super().__init__(from_logits, name, dtype)

    def _score(self, y_true: Tensor, p: Tensor) -> Tensor:
        return measures.confidence(p)


@_register
class ExpectedCalibrationError(keras.metrics.Metric):
    """`kerasdrop.calibration.expected_calibration_error` of all rows.

    A padding mask is not heeded, as by `keras.metrics.AUC`: give what is
    padded a `sample_weight` of 0.

    Args:
        num_bins: Integer, bins of equal width from 0 to 1.
        from_logits: Whether predictions are logits, not probabilities.
        name: String.
        dtype: The dtype of the sums; None for that of Keras.

    Example:

    >>> metric = ExpectedCalibrationError()
    >>> metric.update_state(
    ...     np.array([0, 0, 1, 1]), np.array([[0.75, 0.25]] * 4)
    ... )
    >>> round(float(metric.result()), 4)
    0.25
    """

    @blame_itself
    def __init__(
        self,
        num_bins: int = 15,
        from_logits: bool = False,
        name: str = "expected_calibration_error",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_bins = _checks.positive_integer(num_bins, "num_bins")
        self.from_logits = _checks.flag(from_logits, "from_logits")
        self.sums = self.add_variable(
            (3, num_bins), "zeros", self.dtype, name="sums"
        )

    def update_state(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: ArrayLike | None = None,
    ) -> None:
        """Adds the rows of a batch.

        Args:
            y_true: Integers `(rows, ...)`, or one-hot `(rows, ..., classes)`.
            y_pred: `(rows, ..., classes)`, or `(rows, ..., 1)`.
            sample_weight: `(rows,)`, or None.
        """
        p = _probabilities(y_pred, self.from_logits, self.dtype)
        precision = None
        if arrays.is_tensor(y_pred) and not self.from_logits:
            precision = arrays.dtype_name(y_pred)
        with _refusals.blame(type(self).__name__):
            sums = binning.bin_sums(
                y_true, p, self.num_bins, sample_weight, precision=precision
            )
        self.sums.assign_add(ops.cast(sums, self.dtype))

    def result(self) -> Tensor:
        """The error of the rows so far; NaN if there are none."""
        sums = ops.convert_to_tensor(self.sums)
        with _refusals.blame(type(self).__name__):
            return binning.error_of(sums)

    def reliability(self) -> binning.Reliability:
        """The rows so far as `calibration.Reliability`, for a plot.

        Returns:
            A `Reliability` of NumPy arrays.
        """
        return binning.reliability_of(ops.convert_to_numpy(self.sums))

    def get_config(self) -> Config:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "num_bins": self.num_bins,
            "from_logits": self.from_logits,
        }


class _MeanOfNormals(_Mean):
    """The mean of a score of two-part outputs; `_score` is the function."""

    @blame_itself
    def __init__(self, kind: Given, name: str, dtype: str | None) -> None:
        super().__init__(self._values, name=name, dtype=dtype)
        self.kind = _checks.choice(kind, two_part.KINDS, "kind")

    def _values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_pred = _as_dtype(y_pred, self.dtype)
        with _refusals.blame(type(self).__name__):
            mean, variance = two_part.parts(y_pred, self.kind)
        return self._score(y_true, mean, variance)

    def get_config(self) -> Config:
        return {"name": self.name, "dtype": self.dtype, "kind": self.kind}


@_register
class GaussianNegativeLogLikelihood(_MeanOfNormals):
    """Mean of `kerasdrop.calibration.gaussian_negative_log_likelihood`.

    Args:
        kind: What predictions are, `"mean_and_variance"` or
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
        y_pred = _as_dtype(y_pred, self.dtype)
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
    """`kerasdrop.measures.sharpness` of all rows; targets are not looked at.

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
        level: Float in (0, 1), the probability of the intervals, which the
            coverage should be near.
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


def _as_dtype(y_pred: Tensor, dtype: str | None) -> Tensor:
    # Half precision is for layers: sums and logarithms are in the metric's.
    return ops.cast(y_pred, dtype) if arrays.is_tensor(y_pred) else y_pred


def _probabilities(
    y_pred: Tensor, from_logits: bool, dtype: str | None
) -> Tensor:
    if not from_logits:
        return _as_dtype(y_pred, dtype)
    return ops.softmax(_logits(y_pred, dtype), axis=-1)


def _logits(y_pred: Tensor, dtype: str | None) -> Tensor:
    """Logits of two classes at least; a single one is that of the second."""
    logits = ops.cast(ops.convert_to_tensor(y_pred), dtype)
    if logits.shape[-1] != 1:
        return logits
    return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
