"""Mean and variance of a stream of samples, in memory that does not grow.

Chunks of samples are merged by the rule of Chan, Golub & LeVeque (1983). All
of it is relative to a pivot, the first sample: with a mean of 1000 and a
spread of 0.01, a float32 sum of squares would have no correct digit.
"""

from typing import NamedTuple

from keras import ops


class Moments(NamedTuple):
    """State of the stream.

    Attributes:
        count: `(batch, 1, ...)`, the samples seen.
        pivot: `(batch, ...)`, the first sample.
        mean: `(batch, ...)`, mean of the samples minus the pivot.
        squares: `(batch, ...)`, sum of the squared deviations from the mean.
    """

    count: object
    pivot: object
    mean: object
    squares: object


def init(zeros):
    """The empty stream.

    Args:
        zeros: Tensor of zeros, `(batch, ...)`, float32 or float64.
    """
    of_row = (slice(None), *(slice(0, 1),) * (len(zeros.shape) - 1))
    return Moments(zeros[of_row], zeros, zeros, zeros)


def update(moments, samples):
    """The stream with a chunk of samples added.

    Args:
        moments: A `Moments`.
        samples: `(batch, chunk, ...)`, of the dtype of the moments.
    """
    pivot = ops.where(moments.count > 0.0, moments.pivot, samples[:, 0])
    centred = samples - ops.expand_dims(pivot, 1)
    mean = ops.mean(centred, axis=1)
    deviations = ops.square(centred - ops.expand_dims(mean, 1))
    step = mean - moments.mean
    added = float(samples.shape[1])
    count = moments.count + added
    share = added / count
    return Moments(
        count,
        pivot,
        moments.mean + step * share,
        moments.squares
        + ops.sum(deviations, axis=1)
        + ops.square(step) * moments.count * share,
    )


def mean(moments):
    return moments.pivot + moments.mean


def variance(moments):
    """The unbiased variance (ddof 1); NaN for a single sample."""
    count = moments.count
    return moments.squares / ops.where(count > 1.0, count - 1.0, float("nan"))


class Stream(NamedTuple):
    """Moments of single samples, and of the means of whole sets of them."""

    samples: Moments
    set_means: Moments


def start(chunk, set_size):
    """The stream after its first chunk of samples; arguments as of `add`."""
    empty = init(ops.zeros_like(chunk[:, 0]))
    return add(Stream(empty, empty), chunk, set_size)


def add(stream, chunk, set_size):
    """The stream with a chunk of samples added.

    Args:
        chunk: `(batch, samples, ...)`: whole sets, then the rest, if any.
        set_size: Integer.
    """
    samples = update(stream.samples, chunk)
    num_sets = chunk.shape[1] // set_size
    if num_sets == 0:
        return Stream(samples, stream.set_means)
    in_sets = chunk[:, : num_sets * set_size]
    in_sets = ops.reshape(
        in_sets, (-1, num_sets, set_size, *ops.shape(chunk)[2:])
    )
    set_means = ops.mean(in_sets, axis=2)
    return Stream(samples, update(stream.set_means, set_means))
