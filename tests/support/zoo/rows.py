"""Models whose rows see each other, or their number, and are refused."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.support.zoo.registry import REFUSED
from tests.support.zoo.registry import ROWS
from tests.support.zoo.registry import entry


@entry(refused=REFUSED, law=None, core=True)
def centred_over_rows(rate=0.4):  # E5
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, h - ops.mean(h, axis=0, keepdims=True))


@entry(refused=REFUSED, law=None)
def softmax_over_rows(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, ops.softmax(layers.Dropout(rate)(x), axis=0))


@entry(refused=REFUSED, law=None, core=True)
def similarity_of_rows(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, ops.matmul(h, ops.transpose(h)))


@entry(refused=REFUSED, law=None)
def attention_over_rows(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    weights = ops.softmax(ops.matmul(h, ops.transpose(h)))
    return keras.Model(x, ops.matmul(weights, h))


@entry(refused=REFUSED, law=None)
def covariance_of_features(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, h @ (ops.transpose(h) @ h))


@entry(refused=REFUSED, law=None, core=True)
def rows_turned_round(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, ops.flip(layers.Dropout(rate)(x), axis=0) + x)


@entry(refused=REFUSED, law=None)
def rows_rolled(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, ops.roll(layers.Dropout(rate)(x), 1, axis=0))


@entry(refused=REFUSED, law=None)
def rows_sorted(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, ops.sort(layers.Dropout(rate)(x), axis=0))


@entry(refused=REFUSED, law=None)
def rows_added_up(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, ops.cumsum(layers.Dropout(rate)(x), axis=0))


@entry(refused=REFUSED, law=None)
def the_first_row_taken_from_all(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, h - h[0])


@entry(refused=REFUSED, law=None)
def the_first_plain_row_taken_from_all(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dropout(rate)(x) - x[0:1, :])


@entry(refused=REFUSED, law=None)
def rows_numbered_by_hand(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, ops.take(h, [0, 0, 1, 2, 3, 4], axis=0))


@entry(refused=REFUSED, law=None, one_by_one=False, core=True)
def a_number_of_the_batch(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, ops.mean(layers.Dropout(rate)(x)))


@entry(refused=REFUSED, law=None)
def a_number_of_the_batch_that_divides(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, h / (1.0 + ops.max(ops.abs(h))))


@entry(refused=REFUSED, law=None)
def a_plain_number_of_the_batch_that_divides(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dropout(rate)(x) / (1 + ops.max(ops.abs(x))))


@entry(refused=REFUSED, law=None, core=True)
def a_batch_size_by_hand(rate=0.4):
    x = keras.Input((2, 2))
    h = ops.reshape(layers.Dropout(rate)(x), (ROWS, 4))
    return keras.Model(x, layers.Dense(2)(h))


class OverBatch(layers.Layer):
    """Divides by the number of rows that it gets."""

    def call(self, inputs):
        return inputs / ops.cast(ops.shape(inputs)[0], inputs.dtype)


@entry(refused=REFUSED, law=None)
def divided_by_the_number_of_rows(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, OverBatch()(layers.Dropout(rate)(x)))


@entry(refused=REFUSED, law=None)
def divided_by_the_number_of_plain_rows(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dropout(rate)(OverBatch()(x)))


class Centred(layers.Layer):
    """Centres over rows, hidden in a layer."""

    def call(self, inputs):
        return inputs - ops.mean(inputs, axis=0, keepdims=True)


@entry(refused=REFUSED, law=None, core=True)
def centred_in_a_layer(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, Centred()(layers.Dropout(rate)(x)))


@entry(refused=REFUSED, law=None)
def centred_before_it_is_dropped(rate=0.4):
    # The result depends on the rows of a batch of the data, not on samples.
    x = keras.Input((4,))
    return keras.Model(x, layers.Dropout(rate)(Centred()(x)))


@entry(refused=REFUSED, law=None, core=True)
def nodes_of_a_graph(rate=0.4):
    # The rows are nodes, and a matrix says which nodes are neighbours.
    x = keras.Input((4,))
    near = np.eye(ROWS, k=1) + np.eye(ROWS, k=-1) + np.eye(ROWS)
    near = ops.convert_to_tensor((near / 3).astype("float32"))
    h = layers.Dropout(rate)(layers.Dense(4, activation="tanh")(x))
    return keras.Model(x, ops.matmul(near, h))


@entry(refused=REFUSED, law=None)
def a_constant_for_each_row(rate=0.4):
    x = keras.Input((4,))
    table = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
    return keras.Model(
        x, layers.Dropout(rate)(x) + ops.convert_to_tensor(table)
    )


class Place(layers.Layer):
    """Adds its position in the batch to each row."""

    def call(self, inputs):
        places = ops.arange(ops.shape(inputs)[0])
        return inputs + ops.cast(places, inputs.dtype)[:, None]


@entry(refused=REFUSED, law=None, core=True)
def the_place_in_the_batch(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, Place()(layers.Dropout(rate)(x)))


@entry(refused=REFUSED, law=None)
def the_place_in_the_batch_before_dropout(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dropout(rate)(Place()(x)))


class ByBatch(layers.Layer):
    """Normalizes by the batch at inference, too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()

    def call(self, inputs):
        return self.norm(inputs, training=True)


@entry(refused=REFUSED, law=None, one_by_one=False, core=True)
def normalized_by_the_batch(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, ByBatch()(layers.Dropout(rate)(x)))


@entry(refused=REFUSED, law=None, one_by_one=False)
def normalized_by_the_batch_before_dropout(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dropout(rate)(ByBatch()(x)))
