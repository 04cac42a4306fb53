"""Running means of values that are not negative, in constant memory.

They need no pivot: rounding cannot make the mean negative, and a small mean is
as exact as a large one.
"""

from kerasdrop._backend import ops
from kerasdrop._types import Tensor


def init(samples: Tensor) -> Tensor:
    """The mean of the first samples, `(batch, samples, ...)`."""
    return ops.mean(samples, axis=1)


def update(mean: Tensor, samples: Tensor, count: Tensor) -> Tensor:
    """Returns the mean with samples added.

    Args:
        mean: `(batch, ...)`, the mean of the earlier samples.
        samples: `(batch, samples, ...)`.
        count: `(batch, 1, ...)`, the number of samples including these.
    """
    share = float(samples.shape[1]) / per_row(count, mean)
    return mean_of(mean, init(samples), share)


def mean_of(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """The mean of two groups of values, from the mean of each.

    It is infinite where one of the means is, as that of all values is.

    Args:
        one, other: `(batch, ...)`, the means.
        share: The fraction of the values that are in the other group, above 0.
    """
    mean = one + (other - one) * share
    return ops.where(mean == mean, mean, one + other)


def per_row(count: Tensor, values: Tensor) -> Tensor:
    """Returns counts `(batch, 1, ...)` with as many axes as `values`."""
    return ops.reshape(count, (-1, *(1,) * (len(values.shape) - 1)))
