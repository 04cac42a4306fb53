"""Formulas for the probabilities of classes, and the check that they are.

For arrays and tensors (see `arrays`), the classes in the last axis.
"""

import numpy as np

from kerasdrop import _backend
from kerasdrop import _refusals
from kerasdrop._backend import ops
from kerasdrop._formulas import arrays
from kerasdrop._refusals import Refusal
from kerasdrop._types import ArrayLike
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor

# The bounds of a softmax with the rounding of half precision.
_SUM_TOLERANCE = 1e-2
_LOWEST = -1e-3

# Sums of probabilities this close to 1 differ from it only by float32 rounding.
_ROUNDED_SUM = 1e-5
# For relative differences below this one, a power series gives a more accurate
# divergence than logarithms.
_SMALL = {"float32": 0.1, "float64": 0.02}
_EXPORTED_SMALL = 0.01


def checked(probabilities: ArrayLike) -> tuple[Namespace, Tensor]:
    """Probabilities of at least two classes.

    Illegal arrays raise an error. A compiled step cannot check tensors, so an
    illegal row of a tensor becomes NaN, and so do all results from it.

    Args:
        probabilities: `(..., classes)`; `(..., 1)`, the probability of the
            positive class, becomes those of the negative and the positive.

    Returns:
        The namespace to compute in, and an array or a tensor.
    """
    xp, p = arrays.floats(probabilities)
    if not len(p.shape) or not p.shape[-1]:
        raise Refusal(
            f"probabilities are `(..., classes)`, or `(..., 1)` for "
            f"that of the positive class. Received: shape {tuple(p.shape)}"
        )
    if p.shape[-1] == 1:
        p = xp.concatenate([1.0 - p, p], axis=-1)
    if xp is np:
        fix = "Pass the outputs of a softmax or a sigmoid."
        check(p, fix)
        if np.isnan(p).any():
            raise Refusal(f"probabilities are numbers. {fix} Received: NaN")
        return xp, p
    # A comparison with NaN is false.
    legal = (xp.abs(xp.sum(p, axis=-1) - 1.0) <= _SUM_TOLERANCE) & (
        xp.min(p, axis=-1) >= _LOWEST
    )
    return xp, xp.where(xp.expand_dims(legal, -1), p, float("nan"))


def check(probabilities: ArrayLike, fix: str) -> None:
    """Raises if an array does not hold probabilities over the last axis.

    Args:
        probabilities: Array `(..., classes)`.
        fix: A sentence with the remedy.
    """
    sums = probabilities.sum(axis=-1)
    # Comparisons with NaN are false, and the message should not have it.
    off = np.nan_to_num(np.abs(sums - 1.0), nan=0.0)
    if (off > _SUM_TOLERANCE).any() or (probabilities < _LOWEST).any():
        raise _refusals.Refusal(
            "probabilities are at least 0 and their sum over the "
            f"last axis is 1. {fix} Received: a sum of "
            f"{sums.flat[off.argmax()]:.6g} and a minimum of "
            f"{np.nanmin(probabilities):.6g}"
        )


def entropy(probabilities: ArrayLike) -> Tensor:
    """Shannon entropy over the last axis, in nats; 0 log 0 is 0.

    If a probability is near 1, its distance from 1 determines the entropy, but
    is rounded. The sum of the other probabilities is that distance, accurate to
    the last digit.
    """
    xp, probabilities = arrays.floats(probabilities)
    largest = xp.max(probabilities, axis=-1)
    is_large = largest > 0.5
    small = xp.where(probabilities > 0.5, 0.0, probabilities)
    lacks = xp.sum(small, axis=-1)
    agrees = xp.abs(largest - 1.0 + lacks) <= _ROUNDED_SUM
    log_of_largest = xp.where(
        agrees,
        log1p(xp, -xp.where(agrees, lacks, 0.0)),
        xp.log(xp.where(is_large, largest, 1.0)),
    )
    of_largest = xp.where(is_large, -largest * log_of_largest, 0.0)
    return xp.sum(_surprise(xp, small), axis=-1) + of_largest


def binary_entropy(probability: Tensor) -> Tensor:
    """Entropy of the positive class or not, element by element, in nats."""
    xp, probability = arrays.floats(probability)
    other = 1.0 - probability
    some = other > 0.0
    log_of_other = log1p(xp, -xp.where(some, probability, 0.0))
    return _surprise(xp, probability) - other * log_of_other


def _surprise(xp: Namespace, probability: Tensor) -> Tensor:
    some = probability > 0.0
    return -probability * xp.log(xp.where(some, probability, 1.0))


def divergence(probabilities: ArrayLike, mean: Tensor) -> Tensor:
    """Kullback-Leibler divergence from a mean, over the last axis, in nats.

    Each class contributes `m f(p / m)` with `f(r) = r log r - r + 1`, which is
    never negative, not even by rounding. The terms `- r + 1` cancel in the mean
    over the distributions whose mean is `m`.

    Args:
        probabilities: `(..., classes)`.
        mean: An array or a tensor that broadcasts.
    """
    xp, probabilities, mean = arrays.floats(probabilities, mean)
    step = probabilities - mean
    return xp.sum(_divergence(xp, probabilities, mean, step), axis=-1)


def binary_divergence(probability: Tensor, mean: Tensor) -> Tensor:
    """The divergence of a binary probability, element by element."""
    xp, probability, mean = arrays.floats(probability, mean)
    # This is not the difference of `1 - p` and `1 - m`, which are rounded.
    step = probability - mean
    of_other = _divergence(xp, 1.0 - probability, 1.0 - mean, -step)
    return _divergence(xp, probability, mean, step) + of_other


def _divergence(
    xp: Namespace, probability: Tensor, mean: Tensor, step: Tensor
) -> Tensor:
    """`m f(p / m)`, where `step = p - m`."""
    is_none = mean <= 0.0
    ratio, step = (
        each / xp.where(is_none, 1.0, mean) for each in (probability, step)
    )
    is_small = xp.abs(step) < _SMALL[arrays.dtype_name(step)]
    # The series is d^2 / 2 - d^3 / 6 + d^4 / 12 - ... + d^6 / 30 - d^7 / 42, in
    # which later terms cannot change the sign.
    d = xp.where(is_small, step, 0.0)
    later = d * (1 / 12 + d * (-1 / 20 + d * (1 / 30 - d / 42)))
    powers = d * d * (0.5 + d * (-1 / 6 + later))
    is_far = (ratio > 0.0) & xp.logical_not(is_small)
    r = xp.where(is_far, ratio, 1.0)
    f = xp.where(is_far, r * xp.log(r) - step, xp.where(is_small, powers, 1.0))
    return xp.where(is_none, 0.0, mean * f)


def log1p(xp: Namespace, values: Tensor) -> Tensor:
    """`log(1 + values)` of values from -1 to 0, accurate near 0."""
    if xp is np or not _backend.is_exporting():
        return xp.log1p(values)
    # Some export formats lack this operation.
    is_small = xp.abs(values) < _EXPORTED_SMALL
    x = xp.where(is_small, values, 0.0)
    powers = x * (1.0 - x * (1 / 2 - x * (1 / 3 - x / 4)))
    return xp.where(
        is_small, powers, xp.log(1.0 + xp.where(is_small, 0.0, values))
    )


def first_largest(values: Tensor) -> Tensor:
    """1 for the first of the largest values over the last axis, else 0.

    All are NaN if a value is NaN, because then the largest is unknown.

    `ops.argmax` would suffice, but on TensorFlow it distinguishes -0 from 0 by
    their bits, which no exporter supports.
    """
    xp, values = arrays.floats(values)
    size = values.shape[-1]
    numbers = np.arange(size, dtype="int32")
    if xp is ops:
        numbers = ops.convert_to_tensor(numbers)
    is_largest = values == xp.max(values, axis=-1, keepdims=True)
    first = xp.min(xp.where(is_largest, numbers, size), axis=-1, keepdims=True)
    found = arrays.like(xp, numbers == first, values)
    total = xp.sum(values, axis=-1, keepdims=True)
    return xp.where(total == total, found, float("nan"))
