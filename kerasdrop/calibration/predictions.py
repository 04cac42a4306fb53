"""Arrays of one output, given as such or as a result of `mc_predict`."""

import numpy as np
from keras import ops

from kerasdrop._formulas import arrays
from kerasdrop._refusals import Refusal
from kerasdrop._types import ArrayLike
from kerasdrop._types import Given
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor
from kerasdrop.calibration import inputs
from kerasdrop.predictive import Predictive

_OF_CLASSES = "predictive_entropy"  # a statistic that only they have


def moments(prediction: Given, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance, given as arrays or as one `Predictive`."""
    if not isinstance(prediction, Predictive):
        if variance is None:
            raise Refusal(
                f"pass a mean and a variance, or the result of "
                "`mc_predict` alone. Received: one argument of type "
                f"{type(prediction).__name__}"
            )
        return prediction, variance
    _check_alone(variance)
    _check_regression(prediction)
    return _statistic(prediction, "mean"), spread(prediction)


def mean(prediction: Given) -> Tensor:
    """The mean, `(rows, ...)`."""
    if isinstance(prediction, Predictive):
        _check_regression(prediction)
        return _statistic(prediction, "mean")
    return prediction


def spread(prediction: Given) -> Tensor:
    """The variance; the total one of a `Predictive`, if it has one."""
    if not isinstance(prediction, Predictive):
        return prediction
    _check_regression(prediction)
    is_split = "total_variance" in prediction
    name = "total_variance" if is_split else "variance"
    return _statistic(prediction, name)


def ends(prediction: Given, upper: ArrayLike) -> tuple[Tensor, Tensor]:
    """Lower and upper ends; the outermost quantiles of a `Predictive`."""
    if not isinstance(prediction, Predictive):
        if upper is None:
            raise Refusal(
                f"pass lower and upper ends, or the result of "
                "`mc_predict(..., quantiles=...)` alone. Received: one "
                f"argument of type {type(prediction).__name__}"
            )
        return prediction, upper
    _check_alone(upper)
    quantiles = _statistic(prediction, "quantiles")
    if quantiles.shape[1] < 2:
        raise Refusal(
            "an interval has two ends. Ask `mc_predict` for two "
            "quantiles, e.g. `quantiles=(0.05, 0.95)`. Received: a result "
            "with one"
        )
    return quantiles[:, 0], quantiles[:, -1]


def pair(
    prediction: Given, other: Tensor, method: str
) -> tuple[Tensor, Tensor]:
    """The arguments of a conformal method: two arrays, or one and None.

    Args:
        prediction, other: As the user gave them.
        method: `"absolute"`, `"scaled"` or `"quantiles"`.
    """
    if method == "scaled":
        return moments(prediction, other)
    if method == "quantiles":
        return ends(prediction, other)
    if other is not None:
        raise Refusal(
            f"the method 'absolute' takes a mean alone. Leave the "
            f"other argument out. Received: {type(other).__name__}"
        )
    return mean(prediction), None


def probabilities(prediction: Given) -> Tensor:
    """The probabilities, `(rows, ..., classes)`."""
    if not isinstance(prediction, Predictive):
        return prediction
    if _OF_CLASSES not in prediction:
        raise Refusal(
            f"needs the probabilities of classes. Pass "
            "`kind='probabilities'`, 'logits' or 'binary' to `mc_predict` if "
            f"that is what the model predicts. Received: a result of kind "
            f"{prediction.kind!r}"
        )
    return _statistic(prediction, "mean")


def as_numpy(value: Given) -> Tensor:
    """The same, with a tensor as a NumPy array; raises if values are masked."""
    if arrays.is_tensor(value):
        return ops.convert_to_numpy(value)
    return arrays.unmasked(value)


def column(xp: Namespace, values: Tensor) -> Tensor:
    """Values of one number for each row, as `(rows,)`."""
    shape = tuple(values.shape)
    if len(shape) == 2 and shape[1] == 1:
        return xp.reshape(values, (-1,))
    if len(shape) != 1:
        raise Refusal(
            f"needs one number for each row, `(rows,)` or `(rows, "
            "1)`, because the guarantee is for rows. Fit each of several "
            f"outputs by itself: `mean[:, 0]`. Received: shape {shape}"
        )
    return values


def finite_targets(targets: ArrayLike) -> Tensor:
    """Targets as an array, or an error if one of them is not finite."""
    given = np.asarray(as_numpy(targets))
    if given.dtype.kind not in "biufO":
        raise Refusal(
            f"targets must be numbers. Received: targets of dtype {given.dtype}"
        )
    targets = given.astype("float64")
    inputs.check_numbers(np, targets)
    if not np.isfinite(targets).all():
        raise Refusal(
            f"targets must be finite. Received: "
            f"{targets[~np.isfinite(targets)][0]}"
        )
    return targets


def check_finite(values: Tensor, what: str) -> None:
    """Raises if an array of predictions holds NaN or infinity."""
    if not np.isfinite(values).all():
        raise Refusal(
            f"{what} must be finite numbers. Received: "
            f"{values[~np.isfinite(values)][0]}"
        )


def _check_alone(second: Given) -> None:
    if second is not None:
        raise Refusal(
            f"a result of `mc_predict` has all that is needed. Leave "
            f"the other argument out. Received: {type(second).__name__}"
        )


def _check_regression(prediction: Given) -> None:
    if _OF_CLASSES in prediction:
        raise Refusal(
            f"needs the prediction of a number. Received: a result of "
            f"kind {prediction.kind!r}, the probabilities of classes"
        )


def _statistic(prediction: Given, name: str) -> Tensor:
    value = prediction.to_dict().get(name)
    if value is None:
        raise Refusal(
            f"needs `{name}`, which this result of `mc_predict` does "
            f"not have. Request it. Received: {', '.join(prediction)}"
        )
    if not isinstance(value, np.ndarray):
        raise Refusal(
            f"takes one output at a time. Pass its arrays. Received: "
            f"`{name}` of several outputs"
        )
    return value
