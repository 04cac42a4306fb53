"""Targets, in the shape of what was predicted."""

import keras
import numpy as np

from kerasdrop._backend import ops
from kerasdrop._formulas import arrays
from kerasdrop._refusals import Refusal
from kerasdrop._types import ArrayLike
from kerasdrop._types import Namespace
from kerasdrop._types import Shape
from kerasdrop._types import Tensor


def like(targets: ArrayLike, predicted: Tensor, expected: str) -> Tensor:
    """Targets in the shape and dtype of the predicted numbers.

    Args:
        targets: In the shape of `predicted`, apart from axes of size 1.
        predicted: `(rows, ...)`, an array or a tensor.
        expected: A description of the targets, for a message.
    """
    xp, targets = _shaped(targets, predicted, expected)
    return arrays.like(xp, targets, predicted)


def one_hot(targets: ArrayLike, probabilities: ArrayLike) -> Tensor:
    """1 for the class of the target, 0 for the others.

    A target that is not a class gets 0 everywhere.

    Args:
        targets: Integers `(rows, ...)`, or one-hot as the probabilities.
        probabilities: `(rows, ..., classes)`.
    """
    rank, classes = len(probabilities.shape), probabilities.shape[-1]
    given = tuple(np.shape(targets))
    if len(given) == rank and given[-1] == classes:
        return like(targets, probabilities, "one-hot targets")
    xp, targets = _shaped(
        targets,
        probabilities[..., 0],
        "targets, a class number each",
    )
    numbers = np.arange(classes)
    if xp is ops:
        dtype = keras.backend.standardize_dtype(targets.dtype)
        if not keras.backend.is_float_dtype(dtype):
            targets = ops.cast(targets, "int32")
        numbers = ops.cast(ops.convert_to_tensor(numbers), targets.dtype)
    is_class = xp.expand_dims(targets, -1) == numbers
    return arrays.like(xp, is_class, probabilities)


def _shaped(
    targets: ArrayLike, predicted: Tensor, expected: str
) -> tuple[Namespace, Tensor]:
    """The namespace, and the targets in the shape of what was predicted."""
    wanted, given = tuple(predicted.shape), tuple(np.shape(targets))
    same = _without_ones(wanted) == _without_ones(given)
    if not same or not _as_long(wanted, given):
        raise Refusal(
            f"there must be {expected}, {wanted}. Received: shape {given}"
        )
    if arrays.is_tensor(predicted):
        targets = ops.convert_to_tensor(targets)
        return ops, ops.reshape(targets, ops.shape(predicted))
    if arrays.is_tensor(targets):
        targets = ops.convert_to_numpy(targets)
    return np, np.reshape(np.asarray(arrays.unmasked(targets)), wanted)


def _without_ones(shape: Shape) -> list[int | None]:
    return [size for size in shape[1:] if size != 1]


def _as_long(wanted: Shape, given: Shape) -> bool:
    """Whether both have the same number of rows, as far as that is known."""
    if not wanted or not given:
        return wanted == given
    return wanted[0] == given[0] or None in (wanted[0], given[0])
