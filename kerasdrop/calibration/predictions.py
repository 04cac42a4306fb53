"""Arrays of one output, from what `mc_predict` returns or as they are."""

import numpy as np
from keras import ops

from kerasdrop._formulas import arrays
from kerasdrop._types import ArrayLike
from kerasdrop._types import Given
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor
from kerasdrop.calibration import inputs
from kerasdrop.predictive import Predictive

_OF_CLASSES = "predictive_entropy"  # a statistic that only they have


def moments(
    prediction: Given, variance: Tensor, owner: str
) -> tuple[Tensor, Tensor]:
    """Mean and variance; those of a `Predictive` without a second argument."""
    if not isinstance(prediction, Predictive):
        if variance is None:
            raise ValueError(
                f"{owner}: pass a mean and a variance, or the result of "
                "`mc_predict` alone. Received: one argument of type "
                f"{type(prediction).__name__}"
            )
        return prediction, variance
    _check_alone(variance, owner)
    _check_regression(prediction, owner)
    return _statistic(prediction, "mean", owner), spread(prediction, owner)


def mean(prediction: Given, owner: str) -> Tensor:
    """The mean, `(rows, ...)`."""
    if isinstance(prediction, Predictive):
        _check_regression(prediction, owner)
        return _statistic(prediction, "mean", owner)
    return prediction


def spread(prediction: Given, owner: str) -> Tensor:
    """The variance; of a `Predictive` the total one, if it has one."""
    if not isinstance(prediction, Predictive):
        return prediction
    _check_regression(prediction, owner)
    is_split = "total_variance" in prediction
    name = "total_variance" if is_split else "variance"
    return _statistic(prediction, name, owner)


def ends(
    prediction: Given, upper: ArrayLike, owner: str
) -> tuple[Tensor, Tensor]:
    """Lower and upper ends; of a `Predictive` its outermost quantiles."""
    if not isinstance(prediction, Predictive):
        if upper is None:
            raise ValueError(
                f"{owner}: pass lower and upper ends, or the result of "
                "`mc_predict(..., quantiles=...)` alone. Received: one "
                f"argument of type {type(prediction).__name__}"
            )
        return prediction, upper
    _check_alone(upper, owner)
    quantiles = _statistic(prediction, "quantiles", owner)
    if quantiles.shape[1] < 2:
        raise ValueError(
            f"{owner}: an interval has two ends. Ask `mc_predict` for two "
            "quantiles, e.g. `quantiles=(0.05, 0.95)`. Received: a result "
            "with one"
        )
    return quantiles[:, 0], quantiles[:, -1]


def pair(
    prediction: Given, other: Tensor, method: str, owner: str
) -> tuple[Tensor, Tensor]:
    """What a method of conformal intervals takes: two arrays, or one and None.

    Args:
        prediction, other: As the user gave them.
        method: `"absolute"`, `"scaled"` or `"quantiles"`.
        owner: Who is to blame in a message.
    """
    if method == "scaled":
        return moments(prediction, other, owner)
    if method == "quantiles":
        return ends(prediction, other, owner)
    if other is not None:
        raise ValueError(
            f"{owner}: the method 'absolute' takes a mean alone. Leave the "
            f"other argument out. Received: {type(other).__name__}"
        )
    return mean(prediction, owner), None


def probabilities(prediction: Given, owner: str) -> Tensor:
    """The probabilities, `(rows, ..., classes)`."""
    if not isinstance(prediction, Predictive):
        return prediction
    if _OF_CLASSES not in prediction:
        raise ValueError(
            f"{owner}: needs the probabilities of classes. Pass "
            "`kind='probabilities'`, 'logits' or 'binary' to `mc_predict` if "
            f"that is what the model predicts. Received: a result of kind "
            f"{prediction.kind!r}"
        )
    return _statistic(prediction, "mean", owner)


def as_numpy(value: Given) -> Tensor:
    """The same, with a tensor as a NumPy array."""
    return ops.convert_to_numpy(value) if arrays.is_tensor(value) else value


def column(xp: Namespace, values: Tensor, owner: str) -> Tensor:
    """Values of one number for each row, as `(rows,)`."""
    shape = tuple(values.shape)
    if len(shape) == 2 and shape[1] == 1:
        return xp.reshape(values, (-1,))
    if len(shape) != 1:
        raise ValueError(
            f"{owner}: needs one number for each row, `(rows,)` or `(rows, "
            "1)`, since the promise is for rows. Of several outputs, fit each "
            f"by itself: `mean[:, 0]`. Received: shape {shape}"
        )
    return values


def finite_targets(targets: ArrayLike, owner: str) -> Tensor:
    """Targets as an array, or an error if one of them is not finite."""
    given = np.asarray(as_numpy(targets))
    if given.dtype.kind not in "biufO":
        raise ValueError(
            f"{owner}: targets must be numbers. Received: targets of dtype "
            f"{given.dtype}"
        )
    targets = given.astype("float64")
    inputs.check_numbers(np, targets, owner)
    if not np.isfinite(targets).all():
        raise ValueError(
            f"{owner}: targets must be finite. Received: "
            f"{targets[~np.isfinite(targets)][0]}"
        )
    return targets


def check_finite(values: Tensor, what: str, owner: str) -> None:
    """Raises if an array of predictions holds NaN or infinity."""
    if not np.isfinite(values).all():
        raise ValueError(
            f"{owner}: {what} must be finite numbers. Received: "
            f"{values[~np.isfinite(values)][0]}"
        )


def _check_alone(second: Given, owner: str) -> None:
    if second is not None:
        raise ValueError(
            f"{owner}: a result of `mc_predict` has all that is needed. Leave "
            f"the other argument out. Received: {type(second).__name__}"
        )


def _check_regression(prediction: Given, owner: str) -> None:
    if _OF_CLASSES in prediction:
        raise ValueError(
            f"{owner}: needs the prediction of a number. Received: a result of "
            f"kind {prediction.kind!r}, the probabilities of classes"
        )


def _statistic(prediction: Given, name: str, owner: str) -> Tensor:
    value = prediction.to_dict().get(name)
    if value is None:
        raise ValueError(
            f"{owner}: needs `{name}`, which this result of `mc_predict` does "
            f"not have. Ask for it. Received: {', '.join(prediction)}"
        )
    if not isinstance(value, np.ndarray):
        raise ValueError(
            f"{owner}: takes one output at a time. Pass its arrays. Received: "
            f"`{name}` of several outputs"
        )
    return value
