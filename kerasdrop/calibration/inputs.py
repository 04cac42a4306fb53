"""Checks of the arguments of calibration functions, and their reductions."""

import numpy as np

from kerasdrop._backend import ops
from kerasdrop._formulas import arrays
from kerasdrop._formulas import categorical
from kerasdrop._formulas import target_shapes
from kerasdrop._refusals import Refusal
from kerasdrop._types import ArrayLike
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor


def labelled(
    targets: ArrayLike, probabilities: ArrayLike
) -> tuple[Namespace, Tensor, Tensor]:
    """The namespace, probabilities and the targets as one-hot vectors."""
    _, p = arrays.floats(probabilities)
    if len(p.shape) == 1:
        raise Refusal(
            f"probabilities are `(rows, ..., classes)`, or `(rows, "
            "1)` for the positive class; `p[:, None]` makes the latter of a "
            f"vector. Received: shape {tuple(p.shape)}"
        )
    xp, p = categorical.checked(p)
    return xp, p, one_hot(targets, p)


def one_hot(targets: ArrayLike, predicted: Tensor) -> Tensor:
    """Targets as one-hot vectors; illegal ones raise, or give NaN in a tensor.

    Args:
        targets: Integers `(rows, ...)`, or one-hot in the shape of `predicted`.
        predicted: `(rows, ..., classes)`, an array or a tensor.
    """
    xp, predicted = arrays.floats(predicted)
    one_hot = target_shapes.one_hot(targets, predicted)
    is_one_hot = (
        (xp.sum(one_hot, axis=-1) == 1.0)
        & (xp.max(one_hot, axis=-1) == 1.0)
        & (xp.min(one_hot, axis=-1) == 0.0)
    )
    if xp is ops:
        legal = xp.expand_dims(is_one_hot, -1)
        return xp.where(legal, one_hot, float("nan"))
    if not is_one_hot.all():
        given = np.asarray(targets)
        received = f"of dtype {given.dtype}"
        if given.dtype.kind in "iuf":
            received = f"from {given.min():.6g} to {given.max():.6g}"
        raise Refusal(
            f"the targets must be whole numbers from 0 to "
            f"{predicted.shape[-1] - 1}, or one-hot vectors. Received: targets "
            f"{received}"
        )
    return one_hot


def normal(
    targets: ArrayLike, mean: Tensor, variance: Tensor
) -> tuple[Namespace, Tensor, Tensor, Tensor]:
    xp, mean, variance = arrays.floats(mean, variance)
    targets = target_shapes.like(targets, mean, "targets, a number each")
    variance = target_shapes.like(variance, mean, "a variance for each mean")
    variance = arrays.checked_variance(xp, variance, above_zero=True)
    return xp, targets, mean, variance


def check_numbers(xp: Namespace, values: Tensor) -> None:
    """Raises if an array holds NaN, which no comparison would show."""
    if xp is np and np.isnan(values).any():
        raise Refusal(
            "targets and predictions must be numbers. Leave out rows "
            "without a target. Received: NaN"
        )


def interval(
    targets: ArrayLike, lower: ArrayLike, upper: ArrayLike
) -> tuple[Namespace, Tensor, Tensor, Tensor]:
    xp, lower, upper = arrays.floats(lower, upper)
    targets = target_shapes.like(targets, lower, "targets, a number each")
    upper = target_shapes.like(upper, lower, "an upper end for each")
    if xp is np and not (lower <= upper).all():
        raise Refusal(
            f"the lower end of an interval must not be above the "
            "upper one. Received: an interval from "
            f"{lower[~(lower <= upper)][0]:.6g} to "
            f"{upper[~(lower <= upper)][0]:.6g}"
        )
    check_numbers(xp, targets)
    return xp, targets, lower, upper


def reduced(
    xp: Namespace,
    values: Tensor,
    sample_weight: ArrayLike,
    reduction: str | None,
) -> Tensor:
    if reduction is None:
        if sample_weight is not None:
            raise Refusal(
                "a `sample_weight` is the weight of a row in a mean. Leave it "
                "out, or pass `reduction='mean'`. Received: reduction=None"
            )
        return values
    if reduction != "mean":
        raise Refusal(
            f"argument `reduction` must be 'mean' or None. Received: "
            f"reduction={reduction!r}"
        )
    weight = arrays.weight_like(xp, sample_weight, values)
    # An impossible target of no weight: 0 times infinity would be NaN.
    values = xp.where((weight == 0.0) & xp.isinf(values), 0.0, values)
    total = xp.sum(weight * values)
    return arrays.weighted(xp, total, xp.sum(weight))
