"""Inputs of which not even the number of axes is known, as TensorFlow has."""

import keras
import numpy as np
import pytest

from kerasdrop import layers
from kerasdrop import row_scope
from tests.layers import test_common as common

if keras.backend.backend() != "tensorflow":
    pytest.skip("elsewhere the rank is known", allow_module_level=True)

import tensorflow as tf


def of_unknown_rank(function):
    return tf.function(function, input_signature=[tf.TensorSpec(None)])


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 5, 4), (6, 2, 3, 2, 2)])
@pytest.mark.parametrize(
    "name",
    [
        "Dropout",
        "ClassicDropout",
        "MCDropout",
        "ScheduledDropout",
        "AlphaDropout",
        "GaussianDropout",
    ],
)
def test_units_are_dropped_as_where_the_rank_is_known(name, shape):
    layer, known = (common.CASES[name].make(0.5, seed=3) for _ in range(2))
    call = of_unknown_rank(lambda x: layer(x, training=True))
    x = np.random.default_rng(0).uniform(1, 2, shape).astype("float32")
    for _ in range(2):
        np.testing.assert_allclose(
            call(x), known(x, training=True), rtol=1e-6, atol=1e-6
        )
    assert layer.step == 2


def test_one_function_serves_all_ranks_and_an_empty_batch():
    layer = layers.Dropout(0.5, seed=3)
    call = of_unknown_rank(lambda x: layer(x, training=True))
    for shape in ((3, 2), (3, 2, 4), (0, 4), (3,)):
        assert call(np.ones(shape, "float32")).shape == shape


def test_rows_are_numbered_as_ever():
    layer, known = layers.Dropout(0.5, seed=3), layers.Dropout(0.5, seed=3)
    x = np.ones((8, 9), "float32")

    def part(x):
        with row_scope(first_row=4):
            return layer(x, training=True)

    np.testing.assert_array_equal(
        of_unknown_rank(part)(x[4:]), known(x, training=True)[4:]
    )


def test_what_is_drawn_at_inference():
    layer, known = (layers.MCDropout(0.5, seed=3) for _ in range(2))
    x = np.ones((8, 9), "float32")
    np.testing.assert_array_equal(of_unknown_rank(layer)(x), known(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dropout(0.5, noise_shape=(None, 1, None)),
        lambda: layers.DropPath(0.5),
        lambda: layers.StochasticDepth(keras.layers.Activation("relu"), 0.5),
    ],
    ids=["noise_shape", "DropPath", "StochasticDepth"],
)
def test_where_the_axes_matter_they_must_be_known(make):
    layer, x = make(), np.ones((4, 2, 3), "float32")
    layer.build(x.shape)
    call = of_unknown_rank(lambda x: layer(x, training=True))
    with pytest.raises(ValueError, match=f"'{layer.name}'.*tf.ensure_shape"):
        call(x)
    # Where nothing is dropped they need not.
    assert of_unknown_rank(lambda x: layer(x))(x).shape == x.shape
