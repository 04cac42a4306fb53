"""Recurrent layers of Keras become ours, and again theirs."""

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

import kerasdrop
from kerasdrop import convert_dropout


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


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
