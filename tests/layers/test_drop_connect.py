"""Dropout of weights: every mask of a small layer, and each row its own."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop.layers import DropConnect
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo.engine import memory
from tests.support import helpers
from tests.support import known_masks

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(6, 3)).astype("float32")
KERNEL = RNG.normal(size=(3, 2)).astype("float32")
BIAS = np.array([0.5, -0.25], "float32")
RATE = 0.25


numpy = ops.convert_to_numpy


def layer_of(activation=None, **arguments):
    """A layer of the kernel and the bias above, and a model of it."""
    layer = DropConnect(stock.Dense(2, activation), RATE, **arguments)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.set_weights([KERNEL, BIAS])
    return layer, model


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("steps", [(), (4,)])
def test_the_formula_under_the_known_words(use_bias, steps):
    """Biases are kept, and the steps of a sequence share the row's mask."""
    dense = stock.Dense(2, "tanh", use_bias=use_bias, bias_initializer="ones")
    layer = DropConnect(dense, RATE, seed=7)
    x = RNG.normal(size=(5, *steps, 3)).astype("float32")
    drawn = numpy(layer(x, training=True))
    keep = known_masks.kept_array(known_masks.words(7, 0, (5, 3, 2)), RATE)
    kernels = numpy(dense.kernel) * keep / (1.0 - RATE)
    linear = np.stack([row @ kernel for row, kernel in zip(x, kernels)])
    np.testing.assert_allclose(
        drawn, np.tanh(linear + use_bias), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(numpy(layer(x)), numpy(dense(x)))


def test_the_moments_are_those_over_all_masks():
    """64 masks of 6 weights; no formula, so an activation may be between."""
    _, model = layer_of("tanh")
    mean, square = 0.0, 0.0
    for keep in itertools.product((0, 1), repeat=KERNEL.size):
        p = np.prod(np.where(keep, 1.0 - RATE, RATE))
        kernel = KERNEL * np.reshape(keep, KERNEL.shape) / (1.0 - RATE)
        y = np.tanh(INPUTS.astype("float64") @ kernel + BIAS)
        mean, square = mean + p * y, square + p * y**2
    variance = square - mean**2
    result = kerasdrop.mc_predict(
        model,
        INPUTS,
        4096,
        seed=0,
        plan="independent",
        kind="regression",
        verbose=0,
    )
    error = 5 * np.sqrt(variance / 4096) + 1e-5
    assert (np.abs(result.mean - mean) <= error).all()
    # The fourth moment of what is within -1 and 1 is below the variance.
    error = 5 * np.sqrt(4 * variance / 4096) + 1e-5
    assert (np.abs(result.variance - variance) <= error).all()


def test_the_moments_of_a_linear_layer():
    """Mean w x, variance rate / (1 - rate) times the sum of w^2 x^2."""
    layer, _ = layer_of(seed=0)
    x = np.repeat(INPUTS[:1], 20_000, axis=0)
    drawn = numpy(layer(x, training=True)).astype("float64")
    mean = INPUTS[0] @ KERNEL + BIAS
    variance = RATE / (1 - RATE) * (INPUTS[0] ** 2 @ KERNEL**2)
    for unit in range(2):
        helpers.assert_mean(drawn[:, unit], mean[unit], variance[unit] ** 0.5)
        squares = (drawn[:, unit] - mean[unit]) ** 2
        helpers.assert_mean(squares, variance[unit], squares.std())
    # Units lose other inputs: where dropout has w1 w2 x^2, here is nothing.
    products = (drawn - mean).prod(axis=1)
    helpers.assert_mean(products, 0.0, products.std())


def test_each_weight_is_dropped_as_often():
    identity = np.eye(20, dtype="float32")
    dense = stock.Dense(20, use_bias=False, kernel_initializer="ones")
    layer = DropConnect(dense, RATE, seed=0)
    # A row for each input, many times: each output is a weight.
    x = np.tile(identity, (50, 1))
    helpers.assert_proportion(numpy(layer(x, training=True)) == 0, RATE)


def test_it_trains():
    layer, model = layer_of(seed=0)
    model.compile("sgd", "mse")
    model.fit(INPUTS, np.ones((6, 2)), batch_size=3, verbose=0)
    assert layer.step == 2
    assert (model.get_weights()[0] != KERNEL).all()


def test_the_length_of_a_sequence_may_be_unknown():
    layer = DropConnect(stock.Dense(2), RATE)
    outputs = layer(keras.Input((None, 3)), training=True)
    assert outputs.shape == (None, None, 2)


def test_a_layer_of_another_precision_answers_in_that_of_the_wrapper():
    dense = stock.Dense(2, dtype="float32")
    layer = DropConnect(dense, RATE, dtype="mixed_bfloat16")
    for training in (True, False):
        outputs = layer(INPUTS, training=training)
        dtype = keras.backend.standardize_dtype(outputs.dtype)
        assert dtype == "bfloat16"


def test_the_kind_of_the_outputs_is_read_off_the_layer_in_it():
    _, model = layer_of("softmax")
    result = kerasdrop.mc_predict(model, INPUTS, 4, seed=0, verbose=0)
    assert result.predictive_entropy.shape == (6,)


def test_the_kernel_of_each_row_counts_as_memory():
    x = keras.Input((100,))
    model = keras.Model(x, DropConnect(stock.Dense(50), RATE)(x))
    found = memory.bytes_per_sample(
        model, np.ones((1, 100)), choice.whole(model)
    )
    # In float32, and as much again for the work.
    assert found == 2 * 4 * (100 + 50 + 100 * 50)


class Mine(stock.Dense):
    """A subclass, which could compute anything."""


@pytest.mark.parametrize(
    "inner",
    [stock.Conv1D(4, 2), stock.LSTM(4), Mine(4)],
    ids=lambda layer: type(layer).__name__,
)
def test_other_layers_are_refused(inner):
    message = "must be a `keras.layers.Dense`.*put `Dropout`. Received: layer="
    with pytest.raises(ValueError, match=message):
        DropConnect(inner, 0.5)


def test_a_quantized_layer_is_refused_when_it_is_to_be_drawn():
    layer, model = layer_of()
    layer.layer.quantize("int8")
    model(INPUTS)
    with pytest.raises(ValueError, match="Quantize after `strip_dropout`"):
        layer(INPUTS, training=True)
