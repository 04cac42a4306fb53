"""Mean and variance of a stream of samples, in memory that does not grow.

Chunks of samples are merged by the rule of Chan, Golub & LeVeque (1983). All
moments are relative to a pivot, the first sample: with a mean of 1000 and a
spread of 0.01, a float32 sum of squares would have no correct digit.
"""

from typing import NamedTuple

from kerasdrop._backend import ops
from kerasdrop._formulas import estimates
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.statistics import running


class Moments(NamedTuple):
    """The moments of some values, relative to a pivot.

    Attributes:
        count: `(batch, 1, ...)`, the number of values.
        mean: `(batch, ...)`, their mean minus the pivot.
        squares: `(batch, ...)`, the sum of the squared deviations from it.
    """

    count: Given
    mean: Given
    squares: Given


class Part(NamedTuple):
    """A set of samples that is not complete yet.

    Attributes:
        count: `(batch, 1, ...)`, the number of its samples so far.
        total: `(batch, ...)`, the sum of these samples minus the pivot.
    """

    count: Given
    total: Given


class Stream(NamedTuple):
    """Moments of single samples, and of the means of whole sets.

    Attributes:
        pivot: `(batch, ...)`, the first sample, to which all moments are
            relative; 0 if it is not finite.
        samples: `Moments` of the samples.
        set_means: `Moments` of the means of whole sets.
        part: A `Part`.
    """

    pivot: Given
    samples: Moments
    set_means: Moments
    part: Part


def init(chunk: Tensor, set_size: int, rest: int = 0) -> Stream:
    """Returns the stream after its first chunk; arguments as for `update`."""
    zeros = ops.zeros_like(chunk[:, 0])
    count = zeros[(slice(None), *(slice(0, 1),) * (len(zeros.shape) - 1))]
    empty = Moments(count, zeros, zeros)
    # Relative to an infinite sample, all others would be infinite or NaN.
    is_finite = ops.abs(chunk[:, 0]) < float("inf")
    pivot = ops.where(is_finite, chunk[:, 0], 0.0)
    stream = Stream(pivot, empty, empty, Part(count, zeros))
    return update(stream, chunk, set_size, rest)


def update(
    stream: Stream, chunk: Tensor, set_size: int, rest: int = 0
) -> Stream:
    """Returns the stream with a chunk of samples added.

    Args:
        chunk: `(batch, samples, ...)`. Without the rest it consists of whole
            sets, or of a part of one set whose size divides the set size. The
            parts of a set come one after another, before the next set begins.
        set_size: Integer.
        rest: Integer, how many samples at the end of the chunk belong to no
            complete set.
    """
    in_sets = chunk.shape[1] - rest
    chunk = chunk - ops.expand_dims(stream.pivot, 1)
    stream = stream._replace(samples=merge(stream.samples, *_moments(chunk)))
    if in_sets == 0:
        return stream
    of_sets = chunk[:, :in_sets]
    if in_sets % set_size == 0:
        shape = (-1, in_sets // set_size, set_size, *ops.shape(chunk)[2:])
        means = ops.mean(ops.reshape(of_sets, shape), axis=2)
        set_means = merge(stream.set_means, *_moments(means))
        return stream._replace(set_means=set_means)
    if set_size % in_sets:
        raise ValueError(
            f"A chunk must be whole sets of {set_size} samples, or a part of "
            f"one set whose size divides it. Received: {in_sets} samples"
        )
    return _with_part(stream, of_sets, set_size)


def _with_part(stream: Stream, samples: Tensor, set_size: int) -> Stream:
    count = stream.part.count + float(samples.shape[1])
    total = stream.part.total + ops.sum(samples, axis=1)
    is_whole = count >= float(set_size)
    with_mean = merge(stream.set_means, 1.0, total / float(set_size), 0.0)
    return stream._replace(
        set_means=Moments(
            *(
                ops.where(is_whole, new, old)
                for new, old in zip(with_mean, stream.set_means)
            )
        ),
        part=Part(
            ops.where(is_whole, 0.0, count), ops.where(is_whole, 0.0, total)
        ),
    )


def _moments(values: Tensor) -> tuple[float, Tensor, Tensor]:
    """Count, mean and sum of squares of `(batch, values, ...)`."""
    mean = ops.mean(values, axis=1)
    deviations = values - ops.expand_dims(mean, 1)
    squares = ops.sum(ops.square(deviations), axis=1)
    return float(values.shape[1]), mean, squares


def merge(
    moments: Moments, count: float, mean: Tensor, squares: Tensor
) -> Moments:
    """Returns `Moments` with further values merged into them."""
    total = moments.count + count
    share = count / total
    step = mean - moments.mean
    return Moments(
        total,
        running.mean_of(moments.mean, mean, share),
        moments.squares + squares + ops.square(step) * moments.count * share,
    )


def result(stream: Stream) -> Given:
    """The summary of the samples, an `estimates.Seen`."""
    return estimates.Seen(
        stream.samples.count,
        stream.pivot + stream.samples.mean,
        stream.samples.squares,
        stream.set_means.count,
        stream.set_means.squares,
    )
