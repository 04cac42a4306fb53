"""Running means of what is not below 0, in memory that does not grow.

Without a pivot: no more is their mean, by rounding neither, and a small one is
as exact as a large one.
"""

from kerasdrop._backend import ops
from kerasdrop._types import Tensor


def init(samples: Tensor) -> Tensor:
    """The mean of the first samples, `(batch, samples, ...)`."""
    return ops.mean(samples, axis=1)


def update(mean: Tensor, samples: Tensor, count: Tensor) -> Tensor:
    """The mean with samples added.

    Args:
        mean: `(batch, ...)`, of those before.
        samples: `(batch, samples, ...)`.
        count: `(batch, 1, ...)`, how many these make with those before.
    """
    share = float(samples.shape[1]) / per_row(count, mean)
    return mean + (init(samples) - mean) * share


def per_row(count: Tensor, values: Tensor) -> Tensor:
    """`(batch, 1, ...)` of as many axes as `values`."""
    return ops.reshape(count, (-1, *(1,) * (len(values.shape) - 1)))
