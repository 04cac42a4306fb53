"""Quantiles of samples, each with its standard error."""

import math

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop._backend import ops
from kerasdrop._refusals import Refusal
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

# The number of bisections, after which float32 has no more digits.
_HALVINGS = 32
# Beyond this many standard deviations a normal distribution has less than
# 2**-60 of its probability.
_FURTHEST = 9.0
_SMALLEST_STD = 1e-30


def check(quantiles: Given) -> Shape:
    """Returns a tuple of increasing probabilities in (0, 1), or raises."""
    if quantiles is None:
        return ()
    if _checks.is_number(quantiles):
        quantiles = (quantiles,)
    listed = tuple(_checks.sequence(quantiles, "quantiles"))
    legal = all(_checks.is_number(p) and 0.0 < p < 1.0 for p in listed)
    if not legal or list(listed) != sorted(set(listed)):
        raise Refusal(
            "argument `quantiles` must be probabilities between 0 "
            "and 1, each above the one before, e.g. (0.05, 0.5, 0.95). "
            f"Received: quantiles={quantiles!r}"
        )
    return tuple(map(float, listed))


def of_samples(
    samples: Tensor, probabilities: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Quantiles of samples, interpolated as by `numpy.quantile`.

    Both are NaN where a sample is NaN, as numpy has it.

    The standard error is half the distance between the order statistics one
    binomial standard deviation to either side (Woodruff 1952). It is NaN if
    there are too few samples for these.

    Args:
        samples: `(batch, samples, ...)`.
        probabilities: Floats in (0, 1).

    Returns:
        Two tensors `(batch, len(probabilities), ...)`.
    """
    ordered = ops.sort(samples, axis=1)
    count = samples.shape[1]
    values, errors = [], []
    for p in probabilities:
        rank = p * (count - 1)
        spread = math.sqrt(count * p * (1.0 - p))
        values.append(_at_rank(ordered, rank))
        if rank - spread < 0.0 or rank + spread > count - 1:
            errors.append(_backend.full_like(values[-1], float("nan")))
            continue
        below = _at_rank(ordered, rank - spread)
        errors.append((_at_rank(ordered, rank + spread) - below) / 2.0)
    # A sort may put NaN anywhere, and hide it from the quantiles.
    return _stacked(values, errors, samples == samples)


def _stacked(
    values: list[Tensor], errors: list[Tensor], is_legal: Tensor
) -> tuple[Tensor, Tensor]:
    """Tensors `(batch, quantiles, ...)`, NaN where not all samples are legal.

    Args:
        values, errors: Lists of tensors `(batch, ...)`.
        is_legal: Bool `(batch, samples, ...)`.
    """
    legal = ops.min(ops.cast(is_legal, values[0].dtype), axis=1, keepdims=True)

    def stacked(some: list[Tensor]) -> Tensor:
        return ops.where(legal > 0.0, ops.stack(some, axis=1), float("nan"))

    return stacked(values), stacked(errors)


def _at_rank(ordered: Tensor, rank: float) -> Tensor:
    below = math.floor(rank)
    if rank == below:  # the next may be infinite
        return ordered[:, below]
    above = min(below + 1, ordered.shape[1] - 1)
    step = ordered[:, above] - ordered[:, below]
    return ordered[:, below] + (rank - below) * step


def of_normal_mixture(
    means: Tensor, variances: Tensor, probabilities: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Quantiles of an equal mixture of normals, by bisection.

    Both are NaN where a mean or a variance is not finite.

    The standard error is that of the distribution function, which is a mean
    over the samples, divided by the density.

    Args:
        means, variances: `(batch, samples, ...)`.
        probabilities: Floats in (0, 1).

    Returns:
        Two tensors `(batch, len(probabilities), ...)`.
    """
    stds = ops.maximum(ops.sqrt(variances), _SMALLEST_STD)
    lowest = ops.min(means - _FURTHEST * stds, axis=1)
    highest = ops.max(means + _FURTHEST * stds, axis=1)
    values, errors = [], []
    for p in probabilities:

        def halve(
            _: int, bounds: tuple[Tensor, Tensor], p: Given = p
        ) -> tuple[Tensor, Tensor]:
            low, high = bounds
            middle = (low + high) / 2.0
            is_below = ops.mean(_below(middle, means, stds), axis=1) < p
            return (
                ops.where(is_below, middle, low),
                ops.where(is_below, high, middle),
            )

        low, high = ops.fori_loop(0, _HALVINGS, halve, (lowest, highest))
        value = (low + high) / 2.0
        values.append(value)
        errors.append(_error_of_mixture(value, means, stds))
    # Between infinite bounds a bisection finds nothing.
    is_legal = (ops.abs(means) < math.inf) & (ops.abs(variances) < math.inf)
    return _stacked(values, errors, is_legal & (variances >= 0.0))


def _error_of_mixture(value: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    count = means.shape[1]
    if count == 1:
        return _backend.full_like(value, float("nan"))
    distance = (ops.expand_dims(value, 1) - means) / stds
    bell = ops.exp(-0.5 * ops.square(distance)) / math.sqrt(2.0 * math.pi)
    density = ops.mean(bell / stds, axis=1)
    variance = ops.var(_below(value, means, stds), axis=1) / (count - 1)
    return ops.sqrt(variance) / density


def _below(value: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    """The probability of each normal below `value`, `(batch, samples, ...)`."""
    distance = (ops.expand_dims(value, 1) - means) / stds
    return 0.5 * (1.0 + ops.erf(distance / math.sqrt(2.0)))
