"""Metrics of probabilities of classes."""

import keras
from keras import ops

from kerasdrop import _checks
from kerasdrop import _refusals
from kerasdrop import calibration
from kerasdrop import measures
from kerasdrop._formulas import arrays
from kerasdrop._refusals import blame_itself
from kerasdrop._types import ArrayLike
from kerasdrop._types import Config
from kerasdrop._types import Tensor
from kerasdrop.calibration import binning
from kerasdrop.calibration import scores
from kerasdrop.metrics import means

_register = keras.saving.register_keras_serializable("kerasdrop")


class _MeanOfClasses(means.Mean):
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

    Unlike `keras.metrics.SparseCategoricalCrossentropy` it clips nothing. It
    accepts integers and one-hot targets, and also a single probability, of the
    positive class. A target with probability 0 makes it infinite, or NaN if the
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

    Targets are ignored.

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

    Targets are ignored. If it is above the accuracy, the model is
    overconfident.

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

    Like `keras.metrics.AUC`, it ignores padding masks: give padding a
    `sample_weight` of 0.

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
        """The reliability of the rows so far, for `plots.reliability`.

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


def _probabilities(
    y_pred: Tensor, from_logits: bool, dtype: str | None
) -> Tensor:
    if not from_logits:
        return means.as_dtype(y_pred, dtype)
    return ops.softmax(_logits(y_pred, dtype), axis=-1)


def _logits(y_pred: Tensor, dtype: str | None) -> Tensor:
    """Logits of at least two classes; a single one is for the second class."""
    logits = ops.cast(ops.convert_to_tensor(y_pred), dtype)
    if logits.shape[-1] != 1:
        return logits
    return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
