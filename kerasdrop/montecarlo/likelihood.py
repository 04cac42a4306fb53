"""The log-likelihood of targets under the predictive mixture.

Reference: [Gal & Ghahramani, 2016](https://arxiv.org/abs/1506.02142), equation
8: the logarithm of the mean over the samples, not the mean of the logarithms.
"""

import math
from typing import NamedTuple

from keras import ops

from kerasdrop import _arrays
from kerasdrop import _targets

_OWNER = "log_likelihood"  # who is to blame in a message


class LogSum(NamedTuple):
    """A running `log(sum(exp(...)))`: `(batch, ...)` each.

    Attributes:
        largest: The largest term so far.
        total: The sum of the exponentials, relative to it.
    """

    largest: object
    total: object


def start(terms):
    """The sum of terms `(batch, samples, ...)` over the samples."""
    largest = ops.max(terms, axis=1)
    relative = terms - ops.expand_dims(_finite(largest), 1)
    return LogSum(largest, ops.sum(ops.exp(relative), axis=1))


def merge(one, other):
    largest = ops.maximum(one.largest, other.largest)
    pivot = _finite(largest)
    return LogSum(
        largest,
        one.total * ops.exp(one.largest - pivot)
        + other.total * ops.exp(other.largest - pivot),
    )


def _finite(largest):
    # Were all terms -inf, their difference would be NaN.
    return ops.where(largest == float("-inf"), 0.0, largest)


def log_mean(log_sum, count):
    """The logarithm of the mean of `count` terms, `(batch, ...)`.

    Args:
        count: Float tensor of a number for each row.
    """
    per_row = (-1, *(1,) * (len(log_sum.total.shape) - 1))
    total = ops.log(log_sum.total) - ops.log(ops.reshape(count, per_row))
    return _finite(log_sum.largest) + total


def log_density(mean, variance, target):
    """The log-density of normals, joint over the last axis.

    Args:
        mean, variance: `(batch, samples, ..., size)`.
        target: `(batch, ..., size)`; without the last axis if `size` is 1.

    Returns:
        A tensor `(batch, samples, ...)`.
    """
    target = _targets.like(
        target,
        mean[:, 0],
        "targets, a number each",
        _OWNER,
    )
    each = of_normal(mean, variance, ops.expand_dims(target, 1))
    return ops.sum(each, axis=-1) if len(mean.shape) > 2 else each


def of_normal(mean, variance, target):
    """The log-density of normals, element by element.

    Args:
        mean, variance, target: Arrays or tensors of one shape.
    """
    xp, mean, variance, target = _arrays.floats(mean, variance, target)
    squared = xp.square(mean - target) / variance
    return -0.5 * (squared + xp.log(2.0 * math.pi * variance))


def of_classes(probabilities, target):
    """Log-probability of target classes, `(batch, ...)`.

    Args:
        probabilities: `(batch, ..., classes)`, means over the samples; an
            array or a tensor.
        target: Integers `(batch, ...)`, or one-hot as the probabilities.
    """
    xp, probabilities = _arrays.floats(probabilities)
    target = _targets.one_hot(target, probabilities, _OWNER)
    return xp.log(xp.sum(probabilities * target, axis=-1))


def of_binary(probability, target):
    """Log-probability of yes (1) or no (0), element by element."""
    target = _targets.like(target, probability, "targets, 0 or 1 each", _OWNER)
    return ops.log(ops.where(target > 0.5, probability, 1.0 - probability))
