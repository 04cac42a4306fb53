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
        count: float32 scalar, the samples seen.
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
    return Moments(ops.zeros((), "float32"), zeros, zeros, zeros)


def update(moments, samples):
    """The stream with a chunk of samples added.

    Args:
        moments: A `Moments`.
        samples: `(batch, chunk, ...)`, of the dtype of the moments.
    """
    dtype = samples.dtype
    pivot = ops.where(moments.count > 0.0, moments.pivot, samples[:, 0])
    centred = samples - ops.expand_dims(pivot, 1)
    mean = ops.mean(centred, axis=1)
    deviations = ops.square(centred - ops.expand_dims(mean, 1))
    step = mean - moments.mean
    added = float(samples.shape[1])
    count = moments.count + added
    share = ops.cast(added / count, dtype)
    before = ops.cast(moments.count, dtype)
    return Moments(
        count,
        pivot,
        moments.mean + step * share,
        moments.squares
        + ops.sum(deviations, axis=1)
        + ops.square(step) * before * share,
    )


def mean(moments):
    return moments.pivot + moments.mean


def variance(moments):
    """The unbiased variance (ddof 1); NaN for a single sample."""
    count = ops.cast(moments.count, moments.squares.dtype)
    return moments.squares / ops.where(count > 1.0, count - 1.0, float("nan"))


class Stream(NamedTuple):
    """Moments of single samples, and of the means of whole sets of them."""

    samples: Moments
    set_means: Moments


def start(chunk, is_set):
    """The stream after its first chunk of samples.

    Args:
        chunk: `(batch, samples, ...)`.
        is_set: Whether the chunk is a whole set.
    """
    empty = init(ops.zeros_like(chunk[:, 0]))
    stream = Stream(empty, empty)
    if is_set:
        return add_set(stream, chunk)
    return Stream(update(empty, chunk), empty)


def add_set(stream, chunk):
    """The stream with a whole set of samples added."""
    set_mean = ops.mean(chunk, axis=1, keepdims=True)
    return Stream(
        update(stream.samples, chunk), update(stream.set_means, set_mean)
    )
