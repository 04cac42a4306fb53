"""Means over rows, and predictions in the dtype of the sums."""

import keras
from keras import ops

from kerasdrop._formulas import arrays
from kerasdrop._types import Tensor


class Mean(keras.metrics.MeanMetricWrapper):
    """A mean that is NaN if there are no rows, where that of Keras is 0.

    For a score whose best value is 0, a 0 would be misleading.
    """

    def result(self) -> Tensor:
        """The mean of the rows so far; NaN if there are none."""
        return ops.divide(self.total, ops.cast(self.count, self.dtype))


def as_dtype(y_pred: Tensor, dtype: str | None) -> Tensor:
    # Half precision is for layers: sums and logarithms are in the metric's.
    return ops.cast(y_pred, dtype) if arrays.is_tensor(y_pred) else y_pred
