"""Recurrent layers with all their options."""

import keras
from keras import layers
from keras import ops

import kerasdrop
from tests.support.zoo.registry import entry


def _cells(rate, **settings):
    settings = {"dropout": rate, "recurrent_dropout": rate, **settings}
    return [
        layers.LSTMCell(3, **settings),
        layers.GRUCell(3, **settings),
        layers.SimpleRNNCell(3, **settings),
    ]


@entry(core=True)
def recurrent_layers_with_dropout_of_inputs(rate=0.3):
    x = keras.Input((4, 3))
    ends = [
        layers.LSTM(3, dropout=rate)(x),
        layers.GRU(3, dropout=rate)(x),
        layers.GRU(3, dropout=rate, reset_after=False)(x),
        layers.SimpleRNN(3, dropout=rate)(x),
    ]
    return keras.Model(x, ends)


@entry(core=True)
def recurrent_layers_with_dropout_of_states(rate=0.3):
    x = keras.Input((4, 3))
    ends = [
        layers.LSTM(3, recurrent_dropout=rate)(x),
        layers.GRU(3, recurrent_dropout=rate)(x),
        layers.GRU(3, recurrent_dropout=rate, reset_after=False)(x),
        layers.SimpleRNN(3, recurrent_dropout=rate)(x),
    ]
    return keras.Model(x, ends)


@entry()
def recurrent_layers_that_differ_in_small_things(rate=0.3):
    x = keras.Input((4, 3))
    both = {"dropout": rate, "recurrent_dropout": rate / 2}
    ends = [
        layers.LSTM(3, unroll=True, **both)(x),
        layers.LSTM(3, go_backwards=True, return_sequences=True, **both)(x),
        layers.GRU(3, return_state=True, **both)(x)[1],
        layers.LSTM(3, use_bias=False, activation="relu", **both)(x),
    ]
    return keras.Model(x, ends)


@entry()
def recurrent_cells_with_dropout(rate=0.3):
    x = keras.Input((4, 3))
    return keras.Model(x, [layers.RNN(cell)(x) for cell in _cells(rate)])


@entry(core=True)
def stacked_cells(rate=0.3):
    x = keras.Input((4, 3))
    h = layers.RNN(layers.StackedRNNCells(_cells(rate)))(x)
    return keras.Model(x, layers.Dense(2)(h))


@entry(core=True)
def bidirectional_layers(rate=0.3):
    x = keras.Input((4, 3))
    lstm = {"dropout": rate, "recurrent_dropout": rate}
    ends = [
        layers.Bidirectional(layers.LSTM(2, **lstm))(x),
        layers.Bidirectional(layers.GRU(2, **lstm), merge_mode="mul")(x),
        layers.Bidirectional(
            layers.SimpleRNN(2, **lstm),
            backward_layer=layers.GRU(2, go_backwards=True, dropout=rate),
        )(x),
    ]
    return keras.Model(x, ends)


@entry(core=True)
def convolutional_lstms(rate=0.3):
    x, y = keras.Input((3, 4, 2)), keras.Input((2, 3, 3, 2))
    z = keras.Input((2, 2, 2, 2, 1))
    both = {"dropout": rate, "recurrent_dropout": rate}
    ends = [
        layers.ConvLSTM1D(2, 2, **both)(x),
        layers.ConvLSTM2D(2, 2, padding="same", **both)(y),
        layers.ConvLSTM3D(1, 2, dropout=rate)(z),
    ]
    return keras.Model([x, y, z], ends)


@entry()
def a_recurrent_layer_called_twice(rate=0.3):
    x = keras.Input((4, 3))
    lstm = layers.LSTM(3, dropout=rate, recurrent_dropout=rate)
    return keras.Model(x, lstm(x) - lstm(ops.flip(x, axis=1)))


@entry()
def drawn_initial_states(rate=0.3):
    x = keras.Input((4, 3))
    state = layers.Dropout(rate)(layers.Dense(3)(x[:, 0]))
    return keras.Model(x, layers.GRU(3)(x, initial_state=state))


@entry()
def a_plain_recurrent_layer_on_drawn_inputs(rate=0.3):
    x = keras.Input((4, 3))
    h = layers.Dropout(rate, noise_shape=(None, 1, None))(x)
    return keras.Model(x, layers.GRU(3, return_sequences=True)(h))


@entry(core=True)
def time_distributed_dropout(rate=0.4):
    x = keras.Input((3, 4))
    h = layers.TimeDistributed(layers.Dropout(rate))(x)
    return keras.Model(x, ops.sum(h, axis=1))


@entry(core=True)
def time_distributed_model(rate=0.4):
    inner = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, activation="tanh"),
            layers.Dropout(rate),
        ]
    )
    x = keras.Input((3, 4))
    h = layers.TimeDistributed(inner)(x)
    return keras.Model(x, layers.LSTM(2)(h))


@entry()
def time_distributed_convolution(rate=0.4):
    x = keras.Input((2, 4, 4, 1))
    h = layers.TimeDistributed(layers.SpatialDropout2D(rate))(x)
    h = layers.TimeDistributed(layers.Conv2D(2, 3))(h)
    return keras.Model(x, h)


@entry()
def sequences_of_any_length(rate=0.3):
    x = keras.Input((None, 3))
    h = layers.LSTM(3, return_sequences=True, dropout=rate)(x)
    return keras.Model(x, layers.Dense(2)(layers.Dropout(rate)(h)))


@entry(core=True)
def our_recurrent_layers(rate=0.3):
    x = keras.Input((4, 3))
    ours = kerasdrop.layers.DropoutRNN
    rates = {"input_rate": rate, "recurrent_rate": rate, "output_rate": rate}
    cells = [layers.LSTMCell(2), layers.GRUCell(2), layers.SimpleRNNCell(2)]
    return keras.Model(x, [ours(cell, **rates)(x) for cell in cells])
