"""The right samples, by stock Keras and by enumeration of all masks."""

import contextlib
import itertools
import math

import keras
import numpy as np
from keras import ops
from keras import tree

MOST_UNITS = 12  # whose masks are enumerated


def correlation(one, other):
    """Correlations of the columns of two arrays `(samples, elements)`, or 0."""
    one, other = (array - array.mean(axis=0) for array in (one, other))
    scale = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
    product = (one * other).sum(axis=0)
    return np.where(scale > 0.0, product / np.where(scale > 0.0, scale, 1), 0.0)


def map_arrays(function, x):
    """Maps the arrays of a structure in which missing inputs are None."""
    return tree.map_structure(
        lambda array: None if array is None else function(array), x
    )


def copies_of(x, row, count):
    """Repeats one row `count` times."""
    return map_arrays(lambda array: np.repeat(array[[row]], count, axis=0), x)


def trained(model, x, row, count):
    """The outputs of the stock model in training for copies of one row.

    The rows of a batch draw independently, so copies of a row in one call are
    separate samples.
    """
    outputs = model(copies_of(x, row, count), training=True)
    return [ops.convert_to_numpy(one) for one in tree.flatten(outputs)]


def outcomes(model, x):
    """The outputs of the model under all masks of its dropout layers.

    This works only for dropout of single units. The layers are called as usual,
    and multiply by a given mask.

    Returns:
        A list of arrays `(masks, rows, ...)`, one for each output, and the
        probabilities of the masks, `(masks,)`.
    """
    drops = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Dropout)
    ]
    shapes = []
    with _calling(drops, lambda inputs, rate: _seen(shapes, inputs)):
        model(x, training=False)
    units = [math.prod(shape) for shape in shapes]
    assert 0 < sum(units) <= MOST_UNITS, "there are too many masks to list"
    bits = itertools.product((0.0, 1.0), repeat=sum(units))
    masks = np.array(list(bits), "float32")
    rows = len(tree.flatten(x)[0])
    parts = iter(zip(shapes, np.split(masks, np.cumsum(units)[:-1], axis=1)))
    probabilities = np.ones(len(masks))

    def drop(inputs, rate):
        nonlocal probabilities
        shape, keep = next(parts)
        of_units = np.where(keep > 0, 1.0 - rate, rate)
        probabilities = probabilities * of_units.prod(axis=1)
        keep = np.repeat(keep.reshape(-1, *shape), rows, axis=0)
        return inputs * ops.convert_to_tensor(keep / (1.0 - rate), inputs.dtype)

    many = map_arrays(lambda one: np.concatenate([one] * len(masks)), x)
    with _calling(drops, drop):
        outputs = tree.flatten(model(many, training=False))
    outputs = [ops.convert_to_numpy(one) for one in outputs]
    return [
        one.reshape(len(masks), rows, *one.shape[1:]).astype("float64")
        for one in outputs
    ], probabilities


def _seen(shapes, inputs):
    shapes.append(tuple(inputs.shape[1:]))
    return inputs


@contextlib.contextmanager
def _calling(layers, function):
    """Replaces the calls of dropout layers by (inputs, rate) -> outputs."""
    for layer in layers:
        rate = float(layer.rate)

        def call(inputs, training=None, rate=rate):
            return function(inputs, rate)

        object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("call")


def assert_drawn_from(samples, outcomes, probabilities):
    """Asserts that samples are outcomes with the right frequencies.

    Mean and variance must be within 5 sigma. The variance of the mean is
    variance / T, that of the variance is (fourth - variance^2) / T to first
    order, and both are smaller for balanced samples.

    Args:
        samples: `(rows, T, ...)`.
        outcomes: `(masks, rows, ...)`.
        probabilities: `(masks,)`.
    """
    count = samples.shape[1]
    samples = samples.reshape(*samples.shape[:2], -1).astype("float64")
    outcomes = outcomes.reshape(*outcomes.shape[:2], -1)
    scale = max(np.abs(outcomes).max(), 1e-30)
    for row, of_row in enumerate(samples):
        off = np.abs(of_row[:, None] - outcomes[None, :, row]).max(axis=-1)
        assert off.min(axis=1).max() <= 1e-5 * scale, (
            f"a sample of row {row} is no outcome of any mask"
        )
    mean = np.einsum("m,m...->...", probabilities, outcomes)
    deviations = outcomes - mean
    variance, fourth = (
        np.einsum("m,m...->...", probabilities, deviations**power)
        for power in (2, 4)
    )
    off = np.abs(samples.mean(axis=1) - mean)
    allowed = 5.0 * np.sqrt(variance / count) + 1e-6 * scale
    assert (off <= allowed).all(), f"means are off by {off.max():.3g}"
    off = np.abs(samples.var(axis=1, ddof=1) - variance)
    spread = np.maximum(fourth - variance**2, 0.0)
    # Balanced pairs of a set have up to 16/15 of the variance.
    allowed = 5.0 * np.sqrt(16 / 15 * spread / count) + 0.01 * variance
    allowed = allowed + 1e-6 * scale**2
    assert (off <= allowed).all(), f"variances are off by {off.max():.3g}"
