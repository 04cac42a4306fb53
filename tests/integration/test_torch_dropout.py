"""Properties that PyTorch tests of its dropout modules, and the modules.

The properties hold on every backend; the modules themselves, with which
distributions are compared, are there on PyTorch. They were read in
`test/nn/test_dropout.py` of PyTorch, and are written anew.
"""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers
from tests.support import helpers
from tests.support import traced

BACKEND = keras.backend.backend()
FIRST = {"data_format": "channels_first"}

# Name of the module, our layer, the shape of a row, whether channels fall.
TWINS = {
    "Dropout": (layers.Dropout, (12,), False),
    "Dropout1d": (
        functools.partial(layers.SpatialDropout1D, **FIRST),
        (4, 3),
        True,
    ),
    "Dropout2d": (
        functools.partial(layers.SpatialDropout2D, **FIRST),
        (4, 3, 2),
        True,
    ),
    "Dropout3d": (
        functools.partial(layers.SpatialDropout3D, **FIRST),
        (4, 2, 3, 2),
        True,
    ),
    "AlphaDropout": (layers.AlphaDropout, (12,), False),
    "FeatureAlphaDropout": (
        functools.partial(layers.FeatureAlphaDropout, **FIRST),
        (4, 3, 2),
        True,
    ),
}
twins = pytest.mark.parametrize("name", TWINS)
multiplying = pytest.mark.parametrize(
    "name", [name for name in TWINS if "Alpha" not in name]
)
by_channel = pytest.mark.parametrize(
    "name", [name for name in TWINS if TWINS[name][2]]
)


numpy = ops.convert_to_numpy


def full(name, value, rows=500):
    return np.full((rows, *TWINS[name][1]), value, "float32")


@multiplying
@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
def test_the_mean_of_outputs_and_gradients_is_that_of_no_dropout(name, rate):
    make, _, channels = TWINS[name]
    inputs = full(name, 1 - rate)
    outputs = numpy(make(rate, seed=0)(inputs, training=True))
    gradient = traced.gradient(make(rate, seed=0), inputs)
    # Units of a channel are equal: the first of each is independent.
    if channels:
        outputs, gradient = (
            y.reshape(*y.shape[:2], -1)[..., 0] for y in (outputs, gradient)
        )
    deviation = np.sqrt(rate / (1 - rate))
    helpers.assert_mean(outputs, 1 - rate, (1 - rate) * deviation)
    helpers.assert_mean(gradient, 1.0, deviation)
    np.testing.assert_allclose(gradient, outputs / (1 - rate), rtol=1e-6)


@by_channel
def test_a_channel_falls_as_a_whole(name):
    outputs = numpy(TWINS[name][0](0.5, seed=0)(full(name, 2.0), training=True))
    flat = outputs.reshape(*outputs.shape[:2], -1)
    np.testing.assert_array_equal(flat.min(axis=-1), flat.max(axis=-1))
    helpers.assert_proportion(flat[..., 0] == flat.min(), 0.5)


@twins
def test_inference_is_the_identity(name):
    inputs = np.random.default_rng(0).normal(size=full(name, 0.0).shape)
    outputs = numpy(TWINS[name][0](0.5)(inputs.astype("float32")))
    np.testing.assert_array_equal(outputs, inputs.astype("float32"))


@multiplying
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_both_ends_forward_and_backward(name, rate):
    layer, inputs = TWINS[name][0](rate), full(name, 3.0)
    np.testing.assert_array_equal(
        numpy(layer(inputs, training=True)), (1 - rate) * inputs
    )
    np.testing.assert_array_equal(
        traced.gradient(layer, inputs), np.full_like(inputs, 1 - rate)
    )


@twins
@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_rate_beyond_the_ends_is_refused(name, rate):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        TWINS[name][0](rate)


@twins
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_tensor_stays_one(name, training):
    inputs = full(name, 1.0, rows=0)
    outputs = TWINS[name][0](0.5)(inputs, training=training)
    assert outputs.shape == inputs.shape


@twins
def test_a_tensor_that_is_not_contiguous_gives_the_same(name):
    make, shape, _ = TWINS[name]
    inputs = np.random.default_rng(0).normal(size=(*shape[::-1], 20))
    transposed = ops.transpose(
        ops.convert_to_tensor(inputs, "float32"),
        tuple(range(inputs.ndim))[::-1],
    )
    copied = ops.convert_to_tensor(np.ascontiguousarray(numpy(transposed)))
    one, other = (
        numpy(make(0.5, seed=0)(x, training=True)) for x in (transposed, copied)
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(BACKEND != "torch", reason="the modules are PyTorch's")
@twins
@pytest.mark.parametrize("rate", [0.2, 0.4])
def test_the_distribution_is_that_of_the_module(name, rate):
    import torch

    make, shape, _ = TWINS[name]
    row = np.random.default_rng(0).uniform(1, 2, shape).astype("float32")
    inputs = np.repeat(row[None], 4000, axis=0)
    torch.manual_seed(0)
    module = getattr(torch.nn, name)(rate)  # in training when it is made
    ours = numpy(make(rate, seed=0)(inputs, training=True))
    device = ops.convert_to_tensor(inputs).device
    theirs = numpy(module(torch.from_numpy(inputs).to(device)))
    ours, theirs = (y.reshape(4000, -1) for y in (ours, theirs))
    helpers.assert_same_moments(ours, theirs)
    # Which units fall together: products with the first and the second.
    for unit in (0, 1):
        products = (y * y[:, unit : unit + 1] for y in (ours, theirs))
        helpers.assert_same_moments(*products)
