"""Recurrent layers of Keras become ours, and again theirs."""

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import convert_dropout

numpy = ops.convert_to_numpy


class Adding(keras.layers.Layer):
    """A cell of a user, which drops nothing."""

    state_size = output_size = 3

    def call(self, inputs, states):
        return inputs + states[0], [inputs + states[0]]


class Block(keras.layers.Layer):
    """Makes its recurrent layers itself; its configuration does not tell."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        cell = stock.GRUCell(3, recurrent_dropout=0.25)
        self.steps = [
            stock.RNN(Adding(), return_sequences=True, name="own"),
            stock.RNN(cell, return_sequences=True, name="gru"),
            stock.LSTM(3, return_sequences=True, name="plain"),
            stock.LSTM(3, dropout=0.5, name="lstm"),
        ]

    def build(self, shape):
        for step in self.steps:
            step.build(shape)

    def call(self, inputs, training=False):
        for step in self.steps:
            inputs = step(inputs, training=training)
        return inputs

    def compute_output_shape(self, shape):
        return shape[0], 3


class Shared(keras.layers.Layer):
    """A cell in two layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        cell = stock.GRUCell(3, dropout=0.25)
        self.one = stock.RNN(cell, return_sequences=True)
        self.other = stock.RNN(cell)

    def call(self, inputs, training=False):
        return self.other(self.one(inputs, training=training))

    def compute_output_shape(self, shape):
        return shape[0], 3


BOTH = {"dropout": 0.3, "recurrent_dropout": 0.2}
# A layer, the shape of a row, the rates.
RECURRENT = {
    "LSTM": (lambda: stock.LSTM(3, **BOTH, name="a"), (4, 3)),
    "GRU": (lambda: stock.GRU(3, dropout=0.3, unroll=True, name="a"), (4, 3)),
    "SimpleRNN": (lambda: stock.SimpleRNN(3, **BOTH, name="a"), (4, 3)),
    "ConvLSTM1D": (
        lambda: stock.ConvLSTM1D(2, 2, unroll=True, **BOTH, name="a"),
        (2, 4, 1),
    ),
    "RNN": (lambda: stock.RNN(stock.LSTMCell(3, **BOTH), name="a"), (4, 3)),
    "RNN of two": (
        lambda: stock.RNN(
            [stock.GRUCell(2), stock.LSTMCell(3, **BOTH)], name="a"
        ),
        (4, 3),
    ),
    "Bidirectional": (
        lambda: stock.Bidirectional(stock.LSTM(3, **BOTH), name="a"),
        (4, 3),
    ),
    "Bidirectional RNN": (
        lambda: stock.Bidirectional(
            stock.RNN(stock.GRUCell(3, **BOTH)), name="a"
        ),
        (4, 3),
    ),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_are_converted_and_stripped(name, tmp_path):
    make, shape = RECURRENT[name]
    model = keras.Sequential([keras.Input(shape), make(), stock.Dense(2)])
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    converted, report = convert_dropout(model)
    assert not report.skipped
    rates = kerasdrop.get_rates(converted)
    assert max(rates.values()) == 0.3
    expected = numpy(model(x))
    np.testing.assert_allclose(numpy(converted(x)), expected, rtol=0, atol=2e-7)
    path = tmp_path / "model.weights.h5"
    other = keras.models.clone_model(model)
    converted.save_weights(path)
    other.load_weights(path)
    np.testing.assert_array_equal(numpy(other(x)), expected)
    model.save_weights(path)
    converted.load_weights(path)
    stripped = kerasdrop.strip_dropout(converted).model
    for one, plain in zip(stripped.layers, model.layers):
        assert type(one) is type(plain)
        assert one.name == plain.name
    np.testing.assert_allclose(numpy(stripped(x)), expected, rtol=0, atol=2e-7)


def test_recurrent_layers_without_dropout_stay():
    model = keras.Sequential(
        [
            keras.Input((4, 3)),
            stock.LSTM(2, return_sequences=True),
            stock.RNN(stock.GRUCell(2), return_sequences=True),
            stock.Dropout(0.5),
            stock.GRU(2, dropout=0.5, implementation=1, use_cudnn=False),
        ]
    )
    converted = convert_dropout(model).model
    assert type(converted.layers[0]) is stock.LSTM
    assert type(converted.layers[1]) is stock.RNN
    # Which Keras leaves out of a configuration.
    assert converted.layers[3].cell.implementation == 1
    assert converted.layers[3].use_cudnn is False


def test_recurrent_layers_that_code_makes_are_reached():
    x = np.random.default_rng(0).normal(size=(3, 4, 3)).astype("float32")
    model = keras.Sequential([keras.Input((4, 3)), Block(name="block")])
    converted, report = convert_dropout(model)
    assert set(report.converted) == {"block/gru", "block/lstm"}
    assert not report.skipped
    assert kerasdrop.get_rates(converted) == {
        "block/gru/dropout": 0.0,
        "block/gru/recurrent_dropout": 0.25,
        "block/lstm/dropout": 0.5,
        "block/lstm/recurrent_dropout": 0.0,
    }
    np.testing.assert_allclose(
        numpy(converted(x)), numpy(model(x)), rtol=0, atol=2e-7
    )
    stripped = kerasdrop.strip_dropout(converted).model
    np.testing.assert_allclose(
        numpy(stripped(x)), numpy(model(x)), rtol=0, atol=2e-7
    )
    steps = stripped.layers[0].steps
    assert [type(step) for step in steps] == [stock.RNN] * 2 + [stock.LSTM] * 2


def test_a_cell_in_two_layers_is_refused():
    model = keras.Sequential([keras.Input((4, 3)), Shared()])
    with pytest.raises(ValueError, match="another layer took the rates"):
        convert_dropout(model)
