"""Keeps single samples in tensors of a fixed size."""

from kerasdrop import _backend
from kerasdrop._backend import ops
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks import plans


def room(feature: Given, capacity: Given) -> Given:
    """Zeros `(batch, capacity, ...)`."""
    return ops.repeat(ops.zeros_like(feature[:, :1]), capacity, axis=1)


def cut(
    samples: Tensor, in_sets: Given, rest: Given, num_samples: int
) -> Given:
    """Cuts samples to those that were drawn before an early end.

    Args:
        samples: `(batch, capacity, ...)`.
        in_sets: Integer, how many samples were drawn from the first one on.
        rest: Integer, how many of the last samples were drawn.
        num_samples: Integer, how many samples were to be drawn in all.
    """
    in_sets = min(in_sets, samples.shape[1])
    rest_at = max(num_samples - rest, in_sets)
    return ops.concatenate([samples[:, :in_sets], samples[:, rest_at:]], axis=1)


def with_samples(samples: Tensor, chunk: Given, first: int) -> Given:
    """Replaces the samples from number `first` on by `chunk`.

    Samples beyond the last one to keep are written after it.
    """
    if _backend.is_exporting():
        return _with_samples_chosen(samples, chunk, first)
    end = samples.shape[1] - chunk.shape[1]
    start = ops.minimum(ops.cast(first, "int32"), end)
    # With 64-bit numbers, JAX would make int64 of plain zeros.
    zero = ops.zeros_like(start)
    place = [zero, start] + [zero] * (len(chunk.shape) - 2)
    return ops.slice_update(samples, place, chunk)


def _with_samples_chosen(samples: Tensor, chunk: Given, first: int) -> Given:
    """Does the same with operations that exporters support."""
    size = chunk.shape[1]
    if isinstance(first, int):
        parts = [samples[:, :first], chunk, samples[:, first + size :]]
        return ops.concatenate(parts, axis=1)
    place = plans.range_of(0, samples.shape[1]) - first
    inside = ops.clip(place, 0, size - 1)
    shape = (1, -1) + (1,) * (len(chunk.shape) - 2)
    is_new = ops.reshape(place == inside, shape)
    return ops.where(is_new, ops.take(chunk, inside, axis=1), samples)
