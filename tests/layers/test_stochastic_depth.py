"""The residual wrapper: its equations, and the layer inside it."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop.layers import Dropout
from kerasdrop.layers import StochasticDepth
from tests.support import helpers

INPUTS = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")


numpy = ops.convert_to_numpy


def block():
    return stock.Dense(4, activation="tanh", bias_initializer="ones")


def model_of(*layers):
    return keras.Sequential([keras.Input((4,)), *layers])


# Equations 2 and 5 of Huang et al. 2016, without the activation.


@pytest.mark.parametrize(
    ("scaling", "in_training", "at_inference"),
    [("classic", 1.0, 0.75), ("inverted", 1.0 / 0.75, 1.0)],
)
def test_the_equations_of_the_paper(scaling, in_training, at_inference):
    inner = block()
    layer = StochasticDepth(inner, 0.25, scaling, seed=0)
    drawn = numpy(layer(INPUTS, training=True))
    branch = numpy(inner(INPUTS))
    dropped = (drawn == INPUTS).all(axis=1)
    expected = np.where(dropped[:, None], INPUTS, INPUTS + in_training * branch)
    np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-6)
    helpers.assert_proportion(dropped, 0.25)
    np.testing.assert_allclose(
        numpy(layer(INPUTS)),
        INPUTS + at_inference * branch,
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_paper_is_the_default():
    assert StochasticDepth(block(), 0.5).scaling == "classic"


@pytest.mark.parametrize("scaling", ["classic", "inverted"])
def test_at_rate_one_the_inputs_are_left(scaling):
    layer = StochasticDepth(block(), 1.0, scaling)
    np.testing.assert_array_equal(numpy(layer(INPUTS, training=True)), INPUTS)


def test_the_mean_over_all_depths_is_known():
    """Two linear blocks: each of four networks, with its probability."""
    kernels = np.random.default_rng(1).normal(size=(2, 4, 4)).astype("float32")
    rates = (0.25, 0.5)
    model = model_of(
        *(
            StochasticDepth(stock.Dense(4, use_bias=False), rate)
            for rate in rates
        )
    )
    model.set_weights(list(kernels))
    mean, square = 0.0, 0.0
    for keep in itertools.product((0, 1), repeat=2):
        p = np.prod([1 - r if k else r for k, r in zip(keep, rates)])
        y = INPUTS
        for k, kernel in zip(keep, kernels):
            y = y + k * (y @ kernel)
        mean, square = mean + p * y, square + p * y**2
    variance = square - mean**2
    result = kerasdrop.mc_predict(
        model,
        INPUTS,
        1024,
        seed=0,
        plan="independent",
        kind="regression",
        verbose=0,
    )
    error = 5 * np.sqrt(variance / 1024) + 1e-4
    assert (np.abs(result.mean - mean) <= error).all()
    np.testing.assert_allclose(result.variance, variance, rtol=0.5, atol=1e-3)


# The layer inside.


class Composite(keras.layers.Layer):
    """A layer of layers, which has no `build` for them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.drop = Dropout(0.5, name="drop")
        self.norm = stock.BatchNormalization(momentum=0.5, name="norm")
        self.dense = stock.Dense(4, name="dense")

    def call(self, inputs, training=False):
        x = self.drop(inputs, training=training)
        return self.dense(self.norm(x, training=training))


def test_a_layer_of_layers_is_built_before_the_first_step():
    model = model_of(StochasticDepth(Composite(name="c"), 0.5, name="depth"))
    assert len(model.trainable_weights) == 4


def test_the_layer_inside_trains_and_gets_training():
    inner = Composite()
    model = model_of(StochasticDepth(inner, 0.5), stock.Dense(1))
    model.compile("sgd", "mse")
    before = [w.copy() for w in inner.get_weights()]
    model.fit(INPUTS, np.ones((40, 1)), batch_size=20, verbose=0)
    after = inner.get_weights()
    assert all((a != b).any() for a, b in zip(after, before))
    assert inner.drop.step == 2
    model.predict(INPUTS, verbose=0)
    for one, other in zip(inner.get_weights(), after):
        np.testing.assert_array_equal(one, other)


def test_a_monte_carlo_pass_draws_both_and_leaves_batch_normalization():
    model = model_of(StochasticDepth(Composite(), 0.5))
    before = model.get_weights()
    listed = kerasdrop.inspect(model).layers
    assert [one.is_drawn for one in listed] == [True, True]
    samples = kerasdrop.mc_predict(
        model, INPUTS, 16, seed=0, keep_samples=True, verbose=0
    ).samples
    left_out = (samples == INPUTS[:, None]).all(axis=-1)
    helpers.assert_proportion(left_out, 0.5)
    # What is not left out differs from sample to sample, by the dropout.
    row = samples[0][~left_out[0]]
    assert len(np.unique(row[:, 0])) > 2
    for one, other in zip(model.get_weights(), before):
        np.testing.assert_array_equal(one, other)


def test_rates_of_the_layer_and_in_it_have_paths():
    inner = model_of(Dropout(0.3, name="drop"), stock.Dense(4))
    inner.name = "inner"
    model = model_of(StochasticDepth(inner, 0.5, name="depth"))
    assert kerasdrop.get_rates(model) == {
        "depth": 0.5,
        "depth/inner/drop": 0.3,
    }


def test_stock_dropout_in_it_is_converted():
    inner = model_of(stock.Dropout(0.3, name="drop"), stock.Dense(4))
    model = model_of(StochasticDepth(inner, 0.5, seed=1, name="depth"))
    converted = kerasdrop.convert_dropout(model).model
    assert sorted(kerasdrop.get_rates(converted).values()) == [0.3, 0.5]
    np.testing.assert_array_equal(
        numpy(converted(INPUTS)), numpy(model(INPUTS))
    )


def test_a_file_brings_back_the_layer_inside(tmp_path):
    inner = model_of(Dropout(0.3), stock.Dense(4))
    model = model_of(StochasticDepth(inner, 0.5, name="depth"))
    model.get_layer("depth").rate = 0.25
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("depth").rate == 0.25
    np.testing.assert_array_equal(numpy(loaded(INPUTS)), numpy(model(INPUTS)))


def test_the_layer_inside_sees_the_padding_mask():
    tokens = np.array([[3, 1, 0, 0], [2, 2, 1, 0]])
    embedded = stock.Embedding(4, 5, mask_zero=True)(tokens)
    lstm = stock.LSTM(5, return_sequences=True)
    outputs = numpy(StochasticDepth(lstm, 0.0)(embedded))
    np.testing.assert_allclose(
        outputs, numpy(embedded) + numpy(lstm(embedded)), rtol=1e-5, atol=1e-6
    )


def test_a_layer_of_another_precision_is_added_in_that_of_the_wrapper():
    layer = StochasticDepth(
        stock.Dense(4, dtype="float32"), 0.5, dtype="mixed_bfloat16"
    )
    dtype = keras.backend.standardize_dtype(layer(INPUTS, training=True).dtype)
    assert dtype == "bfloat16"


@pytest.mark.parametrize(
    "inner", [stock.Dense(3), stock.LSTM(4, return_state=True)]
)
def test_a_layer_that_changes_the_shape_is_refused(inner):
    inputs = keras.Input((4,) if isinstance(inner, stock.Dense) else (5, 4))
    message = r"write `project\(x\) \+ DropPath\(rate\)\(layer\(x\)\)`. Rec"
    with pytest.raises(ValueError, match=message):
        StochasticDepth(inner, 0.5)(inputs)


def test_what_is_no_layer_is_refused():
    with pytest.raises(ValueError, match="valid Keras layer"):
        StochasticDepth(0.5, 0.5)
