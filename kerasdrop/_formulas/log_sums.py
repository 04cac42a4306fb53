"""Running sums of numbers whose logarithms are given."""

from typing import NamedTuple

from kerasdrop._backend import ops
from kerasdrop._types import Tensor


class LogSum(NamedTuple):
    """A running `log(sum(exp(...)))`: `(batch, ...)` each.

    Attributes:
        largest: The largest term so far.
        relative: The sum of the exponentials, relative to it.
    """

    largest: Tensor
    relative: Tensor


def init(terms: Tensor, axis: int = 1) -> LogSum:
    """The sum of terms, `(batch, samples, ...)`, over the samples."""
    largest = ops.max(terms, axis=axis)
    relative = terms - ops.expand_dims(_finite(largest), axis)
    return LogSum(largest, ops.sum(ops.exp(relative), axis=axis))


def update(log_sum: LogSum, terms: Tensor) -> LogSum:
    """The sum with further terms added, `(batch, samples, ...)`."""
    return merge(log_sum, init(terms))


def merge(one: LogSum, other: LogSum) -> LogSum:
    """The sum of the terms of both."""
    largest = ops.maximum(one.largest, other.largest)
    pivot = _finite(largest)
    return LogSum(
        largest,
        one.relative * ops.exp(one.largest - pivot)
        + other.relative * ops.exp(other.largest - pivot),
    )


def result(log_sum: LogSum, count: Tensor) -> Tensor:
    """The logarithm of the mean of `count` terms, `(batch, ...)`.

    Args:
        count: Float tensor of a number for each row.
    """
    per_row = (-1, *(1,) * (len(log_sum.relative.shape) - 1))
    return total(log_sum) - ops.log(ops.reshape(count, per_row))


def total(log_sum: LogSum) -> Tensor:
    """The logarithm of the sum, `(batch, ...)`."""
    return _finite(log_sum.largest) + ops.log(log_sum.relative)


def _finite(largest: Tensor) -> Tensor:
    # If all terms are -inf, their difference from the largest would be NaN.
    return ops.where(largest == float("-inf"), 0.0, largest)
