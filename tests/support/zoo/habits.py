"""Code that users write and that an engine's author may not expect."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.support.zoo.registry import entry
from tests.support.zoo.registry import floats


class Table(layers.Layer):
    """A learned matrix of any size."""

    def __init__(self, rows, features, **kwargs):
        super().__init__(**kwargs)
        self.table = self.add_weight((rows, features), name="table")

    def call(self, inputs):
        return ops.convert_to_tensor(self.table)


@entry(core=True)
def tables_of_any_size(rate=0.4):
    # One of the sizes is that of the batch, of all samples, or of a trial.
    x = keras.Input((3,))
    h = layers.Dropout(rate)(x)
    sizes = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 16, 17, 23, 32, 48, 96, 192]
    ends = [ops.matmul(h, ops.transpose(Table(n, 3)(x))) for n in sizes]
    return keras.Model(x, ops.concatenate(ends, axis=-1))


class Flipped(layers.Layer):
    """Augments at inference, too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flip = layers.RandomFlip("horizontal")

    def call(self, inputs):
        return self.flip(inputs, training=True)


@entry(refused="training=True", one_by_one=False, core=True)
def augmented_at_inference(rate=1.0):
    # No rate makes this small: at each rate, half of the images are flipped.
    x = keras.Input((2, 2, 1))
    h = Flipped()(x) if rate > 0.1 else x
    return keras.Model(x, layers.Flatten()(layers.Dropout(0.4 * rate)(h)))


class Memory(layers.Layer):
    """Stores its last inputs for another layer."""

    def call(self, inputs):
        self.last = inputs
        return inputs * 1.0


class Recalls(layers.Layer):
    def __init__(self, memory, **kwargs):
        super().__init__(**kwargs)
        self._memory = [memory]  # not a layer of this one

    def call(self, inputs):
        return inputs * self._memory[0].last

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


@entry(refused=".", law=None)
def a_way_past_the_graph(rate=0.4):
    x = keras.Input((4,))
    memory = Memory()
    h = layers.Dropout(rate)(memory(x))
    return keras.Model(x, Recalls(memory)(h))


class RowsByShape(layers.Layer):
    """Reshapes by the shape of its inputs."""

    def call(self, inputs):
        batch = ops.shape(inputs)[0]
        pairs = ops.reshape(inputs, (batch * 2, -1))
        return ops.reshape(ops.flip(pairs, axis=1), (batch, -1))


@entry()
def reshaped_by_the_shape(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, RowsByShape()(layers.Dropout(rate)(x)) * x)


class InEachRow(layers.Layer):
    """Calls its dropout for each row, in a mapped function."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.drop = layers.Dropout(rate)

    def call(self, inputs):
        return ops.vectorized_map(self.drop, inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@entry(refused=".", law=None, one_by_one=False)
def dropout_in_a_mapped_function(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, InEachRow(rate)(x))


class InABranch(layers.Layer):
    """Calls its dropout in one branch of a condition on values."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.drop = layers.Dropout(rate)

    def call(self, inputs, training=None):
        return ops.cond(
            ops.any(inputs > -100.0),
            lambda: self.drop(inputs, training=training),
            lambda: inputs,
        )


# Keras on JAX cannot train it: the generator's state leaks out of the branch.
@entry(law="masks", core=True)
def dropout_in_a_branch(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, InABranch(rate)(x))


class Many(layers.Layer):
    """Takes any number of tensors, and also numbers."""

    def call(self, *inputs, scale=1.0, bias=None):
        total = scale * inputs[0]
        for one in inputs[1:]:
            total = total + one
        return total if bias is None else total + bias


@entry()
def any_number_of_arguments(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    bias = np.arange(4, dtype="float32")
    out = Many()(h, ops.tanh(x), h, scale=2.0, bias=bias)
    return keras.Model(x, out)


@entry(since="3.14")
def an_input_without_use(rate=0.4):
    a, b = keras.Input((4,)), keras.Input((2,))
    return keras.Model([a, b], layers.Dropout(rate)(a))


@entry()
def attention_scores_as_outputs(rate=0.3):
    x = keras.Input((3, 4))
    attention = layers.MultiHeadAttention(2, 2, dropout=rate)
    h, scores = attention(x, x, return_attention_scores=True)
    return keras.Model(x, [h, scores])


@entry()
def several_axes_of_attention(rate=0.3):
    x = keras.Input((2, 3, 4))
    h = layers.MultiHeadAttention(2, 2, dropout=rate, attention_axes=(2,))(x, x)
    k = layers.MultiHeadAttention(2, 2, attention_axes=(1, 2), dropout=rate)
    return keras.Model(x, k(h, x))


def _bytes(rows):
    generator = np.random.default_rng(0)
    return generator.integers(0, 255, (rows, 4, 4, 1)).astype("uint8")


@entry(_bytes)
def images_of_bytes(rate=0.4):
    x = keras.Input((4, 4, 1), dtype="uint8")
    h = layers.Rescaling(1 / 255)(x)
    return keras.Model(x, layers.Flatten()(layers.SpatialDropout2D(rate)(h)))


@entry(lambda rows: floats(4)(rows) > 0)
def inputs_of_truths(rate=0.4):
    x = keras.Input((4,), dtype="bool")
    h = ops.where(x, 1.0, -1.0)
    return keras.Model(x, layers.Dense(2)(layers.Dropout(rate)(h)))


@entry()
def a_constant_output(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, [h, ops.ones_like(x) * 2.0, ops.zeros_like(h)])


class Ensemble(layers.Layer):
    """Concatenates copies of the batch, and returns their mean."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.drop = layers.Dropout(rate)
        self.dense = layers.Dense(4, activation="tanh")

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        many = ops.concatenate([inputs, inputs, inputs], axis=0)
        parts = ops.split(self.dense(self.drop(many)), 3, axis=0)
        return sum(parts) / 3.0


@entry(refused=".")
def copies_of_the_batch(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, Ensemble(rate)(x))


class Plain(layers.Layer):
    """Copies of dropped inputs, and their mean."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4, activation="tanh")

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        many = ops.concatenate([inputs, -inputs], axis=0)
        one, other = ops.split(self.dense(many), 2, axis=0)
        return one - other


@entry(core=True)
def copies_of_what_is_drawn(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, Plain()(layers.Dropout(rate)(x)) * x)


@entry()
def copies_of_what_is_drawn_in_a_graph(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    many = ops.concatenate([h, -h], axis=0)
    many = layers.Dense(4, activation="tanh")(many)
    one, other = ops.split(many, 2, axis=0)
    return keras.Model(x, (one - other) * x)


@entry()
def copies_of_what_is_plain_beside_them(rate=0.4):
    x = keras.Input((4,))
    many = ops.concatenate([x, -x], axis=0)
    many = layers.Dense(4, activation="tanh")(many)
    one, other = ops.split(many, 2, axis=0)
    return keras.Model(x, (one - other) * layers.Dropout(rate)(x))


@entry()
def a_plain_stack_meets_a_drawn_one(rate=0.4):
    x = keras.Input((4,))
    drawn = ops.stack([layers.Dropout(rate)(x), x], axis=0)
    plain = ops.stack([ops.tanh(x), x], axis=0)
    return keras.Model(x, ops.sum(drawn * plain, axis=0))


@entry()
def steps_in_front_for_a_loop(rate=0.4):
    # The data are time-major, as in old recurrent code, beside a plain gate.
    x = keras.Input((3, 4))
    h = layers.Dropout(rate)(x)
    steps = [h[:, t] * ops.sigmoid(x[:, t]) for t in range(3)]
    stacked = ops.stack(steps, axis=0)
    return keras.Model(x, ops.max(stacked, axis=0) - ops.min(stacked, axis=0))
