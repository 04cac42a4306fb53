"""Models in which the batch leaves axis 0, lacks, or has rows that meet."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.support.zoo.registry import REFUSED
from tests.support.zoo.registry import ROWS
from tests.support.zoo.registry import entry


@entry(law="masks", core=True)
def reshape_and_back(rate=0.5):  # E4
    x = keras.Input((3, 2))
    plain = ops.reshape(x, (-1, 2))
    drawn = ops.reshape(layers.Dropout(rate)(x), (-1, 2))
    return keras.Model(x, ops.reshape(plain + drawn, (-1, 3, 2)))


@entry()
def dense_on_flattened_steps(rate=0.4):
    x = keras.Input((3, 4))
    h = ops.reshape(layers.Dropout(rate)(x), (-1, 4))
    h = layers.Dense(5, activation="tanh")(h)
    return keras.Model(x, ops.reshape(h, (-1, 3, 5)))


@entry()
def flattened_steps_of_a_plain_branch(rate=0.4):
    x = keras.Input((3, 4))
    flat = layers.Dense(4, activation="tanh")(ops.reshape(x, (-1, 4)))
    drawn = layers.Dropout(rate)(x)
    back = ops.reshape(flat, (-1, 3, 4))
    return keras.Model(x, layers.Dense(2)(back * drawn))


@entry()
def flattened_plain_steps_meet_flattened_drawn_ones(rate=0.4):
    x = keras.Input((3, 4))
    flat = ops.reshape(ops.tanh(x), (-1, 4))
    drawn = ops.reshape(layers.Dropout(rate)(x), (-1, 4))
    h = layers.Dense(3)(layers.Concatenate()([drawn, flat]))
    return keras.Model(x, ops.reshape(h, (-1, 9)))


@entry(core=True)
def time_first_and_back(rate=0.4):
    x = keras.Input((3, 4))
    h = ops.transpose(layers.Dropout(rate)(x), (1, 0, 2))
    h = layers.Dense(4, activation="tanh")(h) * ops.transpose(x, (1, 0, 2))
    return keras.Model(x, ops.transpose(h, (1, 0, 2)))


@entry(core=True)
def summed_in_front_of_the_batch(rate=0.4):
    x = keras.Input((4,))
    towers = [layers.Dropout(rate)(x), ops.tanh(x), layers.Dense(4)(x)]
    return keras.Model(x, ops.mean(ops.stack(towers, axis=0), axis=0))


@entry()
def an_axis_put_in_front(rate=0.4):
    x = keras.Input((3, 4))
    h = ops.expand_dims(layers.Dropout(rate)(x), 0)
    kernel = np.random.default_rng(0).normal(size=(2, 1, 1, 4))
    h = ops.sum(h * ops.convert_to_tensor(kernel.astype("float32")), axis=0)
    return keras.Model(x, h)


@entry()
def windows_of_an_image(rate=0.4):
    # These windows are like those of Swin; the draw is before them.
    x = keras.Input((4, 4, 2))
    h = layers.Dropout(rate)(layers.Dense(3)(x))
    h = ops.transpose(ops.reshape(h, (-1, 2, 2, 2, 2, 3)), (0, 1, 3, 2, 4, 5))
    windows = ops.reshape(h, (-1, 4, 3))
    mixed = layers.MultiHeadAttention(1, 3)(windows, windows)
    h = ops.reshape(mixed, (-1, 2, 2, 2, 2, 3))
    return keras.Model(x, ops.reshape(h, (-1, 4, 4, 3)))


@entry(refused=REFUSED, core=True)
def dropout_on_flattened_steps(rate=0.4):
    x = keras.Input((3, 4))
    h = layers.Dropout(rate)(ops.reshape(x, (-1, 4)))
    return keras.Model(x, ops.reshape(h, (-1, 3, 4)))


@entry(refused=REFUSED)
def dropout_on_time_first(rate=0.4):
    x = keras.Input((3, 4))
    h = layers.Dropout(rate)(ops.transpose(x, (1, 0, 2)))
    return keras.Model(x, ops.transpose(h, (1, 0, 2)))


@entry(refused=REFUSED)
def two_sides_in_one_batch(rate=0.4):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    both = ops.concatenate([a, b], axis=0)
    h = layers.Dropout(rate)(layers.Dense(4, activation="tanh")(both))
    one, two = ops.split(h, 2, axis=0)
    return keras.Model([a, b], ops.sum(one * two, axis=-1, keepdims=True))


@entry(core=True)
def drawn_sides_in_one_batch(rate=0.4):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    drop = layers.Dropout(rate)
    both = ops.concatenate([drop(a), b], axis=0)
    one, two = ops.split(layers.Dense(4, activation="tanh")(both), 2, axis=0)
    return keras.Model([a, b], ops.sum(one * two, axis=-1, keepdims=True))


class Positions(layers.Layer):
    """A learned vector for each step, without a batch axis."""

    def __init__(self, steps, features, **kwargs):
        super().__init__(**kwargs)
        self.table = self.add_weight((steps, features), name="table")

    def call(self, inputs):
        return ops.convert_to_tensor(self.table)


@entry(core=True)
def positions_as_many_as_rows(rate=0.4):
    x = keras.Input((ROWS, 4))
    h = layers.Dropout(rate)(layers.Dense(4)(x))
    return keras.Model(x, h + Positions(ROWS, 4)(x))


@entry()
def positions_that_are_added_before(rate=0.4):
    x = keras.Input((ROWS, 4))
    return keras.Model(x, layers.Dropout(rate)(x + Positions(ROWS, 4)(x)))


@entry(comparable=False)
def positions_that_are_embedded(rate=0.4):
    x = keras.Input((ROWS, 4))
    table = layers.Embedding(ROWS, 4)(ops.arange(ROWS))
    return keras.Model(x, layers.Dropout(rate)(x) * table)


@entry()
def a_kernel_as_large_as_the_batch(rate=0.4):
    x = keras.Input((ROWS,))
    kernel = Positions(ROWS, ROWS)(x)
    return keras.Model(x, ops.matmul(layers.Dropout(rate)(x), kernel))


@entry()
def a_constant_of_one_row(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, h + Positions(1, 4)(x))


# Only on PyTorch does the transposed table follow the weights that are set.
@entry(comparable=False)
def tied_weights(rate=0.4):
    x = keras.Input((3,), dtype="int32")
    table = layers.Embedding(7, 4)
    h = layers.Dropout(rate)(table(x))
    return keras.Model(x, ops.matmul(h, ops.transpose(table.embeddings)))


class WithToken(layers.Layer):
    """Puts a learned vector before the steps of each row."""

    def build(self, shape):
        self.token = self.add_weight((1, 1, shape[-1]), name="token")

    def call(self, inputs):
        shape = (ops.shape(inputs)[0], 1, inputs.shape[-1])
        tokens = ops.broadcast_to(self.token, shape)
        return ops.concatenate([tokens, inputs], axis=1)


@entry(core=True)
def a_class_token(rate=0.3):
    x = keras.Input((3, 4))
    h = WithToken()(layers.Dropout(rate)(layers.Dense(4)(x)))
    h = layers.MultiHeadAttention(2, 2, dropout=rate)(h, h)
    return keras.Model(x, layers.Dense(2)(h[:, 0]))


class Zeros(layers.Layer):
    """Returns as many rows of zeros as its inputs have."""

    def call(self, inputs):
        return ops.zeros((ops.shape(inputs)[0], 2))


@entry(core=True)
def rows_made_for_the_batch(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, layers.Concatenate()([h, Zeros()(x) + 1.0]))


@entry(core=True)
def a_fixed_batch_size(rate=0.4):
    x = keras.Input((4,), batch_size=ROWS)
    return keras.Model(x, layers.Dense(3)(layers.Dropout(rate)(x)))


@entry()
def rows_repeated_and_back(rate=0.4):
    x = keras.Input((4,))
    h = ops.repeat(layers.Dropout(rate)(x), 3, axis=0)
    return keras.Model(x, ops.reshape(layers.Dense(2)(h), (-1, 6)))


@entry()
def a_function_mapped_over_rows(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)

    class Mapped(layers.Layer):
        def call(self, inputs):
            return ops.vectorized_map(
                lambda row: row / (1.0 + ops.sum(row**2)), inputs
            )

    return keras.Model(x, Mapped()(h))
