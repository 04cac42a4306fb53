"""Formulas for the probabilities of classes, and the check that they are.

For arrays and tensors (see `_arrays`), the classes in the last axis.
"""

import numpy as np
from keras import ops

from kerasdrop import _arrays

# As far as rounding in half precision takes a softmax from these.
_SUM_TOLERANCE = 1e-2
_LOWEST = -1e-3


def checked(probabilities, owner):
    """Probabilities of at least two classes.

    Arrays that are none raise. In tensors, which a compiled step cannot look
    into, a row that is none becomes NaN, and so does what follows from it.

    Args:
        probabilities: `(..., classes)`; `(..., 1)`, the probability of yes,
            becomes those of no and yes.
        owner: Who is to blame in a message.

    Returns:
        The namespace to compute in, and an array or a tensor.
    """
    xp, p = _arrays.floats(probabilities)
    if not len(p.shape) or not p.shape[-1]:
        raise ValueError(
            f"{owner}: probabilities are `(..., classes)`, or `(..., 1)` for "
            f"that of yes. Received: shape {tuple(p.shape)}"
        )
    if p.shape[-1] == 1:
        p = xp.concatenate([1.0 - p, p], axis=-1)
    if xp is np:
        fix = "Pass the outputs of a softmax or a sigmoid."
        check(p, owner, fix)
        if np.isnan(p).any():
            raise ValueError(
                f"{owner}: probabilities are numbers. {fix} Received: NaN"
            )
        return xp, p
    # A comparison with NaN is false.
    legal = (xp.abs(xp.sum(p, axis=-1) - 1.0) <= _SUM_TOLERANCE) & (
        xp.min(p, axis=-1) >= _LOWEST
    )
    return xp, xp.where(xp.expand_dims(legal, -1), p, float("nan"))


def check(probabilities, owner, fix):
    """Raises if an array does not hold probabilities over the last axis.

    Args:
        probabilities: Array `(..., classes)`.
        owner: Who is to blame in a message.
        fix: What to do about it, a sentence.
    """
    sums = probabilities.sum(axis=-1)
    off = np.abs(sums - 1.0)
    if (off > _SUM_TOLERANCE).any() or (probabilities < _LOWEST).any():
        raise ValueError(
            f"{owner}: probabilities are at least 0 and their sum over the "
            f"last axis is 1. {fix} Received: a sum of "
            f"{sums.flat[off.argmax()]:.6g} and a minimum of "
            f"{probabilities.min():.6g}"
        )


def entropy(probabilities):
    """Shannon entropy over the last axis, in nats; 0 log 0 is 0."""
    xp, probabilities = _arrays.floats(probabilities)
    return xp.sum(_surprise(xp, probabilities), axis=-1)


def binary_entropy(probability):
    """Entropy of yes or no, element by element, in nats."""
    xp, probability = _arrays.floats(probability)
    return _surprise(xp, probability) + _surprise(xp, 1.0 - probability)


def _surprise(xp, probability):
    some = probability > 0.0
    return -probability * xp.log(xp.where(some, probability, 1.0))


def first_largest(values):
    """1 for the first of the largest values over the last axis, else 0.

    `ops.argmax` would do, but on TensorFlow it tells -0 from 0 by their bits,
    which no exporter can say.
    """
    xp, values = _arrays.floats(values)
    size = values.shape[-1]
    numbers = np.arange(size, dtype="int32")
    if xp is ops:
        numbers = ops.convert_to_tensor(numbers)
    is_largest = values == xp.max(values, axis=-1, keepdims=True)
    first = xp.min(xp.where(is_largest, numbers, size), axis=-1, keepdims=True)
    return _arrays.like(xp, numbers == first, values)
