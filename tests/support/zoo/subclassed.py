"""Models and blocks without a graph, some of them with state."""

import keras
from keras import layers
from keras import ops

import kerasdrop
from tests.support.zoo.registry import entry
from tests.support.zoo.registry import floats
from tests.support.zoo.registry import padded_tokens


class Net(keras.Model):
    """Does everything in `call`."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(4, activation="tanh")
        self.drop = layers.Dropout(rate)
        self.last = layers.Dense(2)

    def call(self, inputs, training=None):
        h = self.drop(self.first(inputs), training=training)
        return self.last(h)


@entry(floats(4), core=True)
def subclassed(rate=0.4):
    return Net(rate)


class Reader(keras.Model):
    """Uses tokens, masks and attention without a graph."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.table = layers.Embedding(7, 4, mask_zero=True)
        self.drop = kerasdrop.layers.Dropout(rate)
        self.mix = layers.MultiHeadAttention(2, 2, dropout=rate)
        self.attend = layers.Attention(dropout=rate)
        self.lstm = layers.LSTM(3, dropout=rate)

    def call(self, inputs):
        h = self.drop(self.table(inputs))
        h = self.attend([self.mix(h, h), h])
        return self.lstm(h)


@entry(padded_tokens(5), core=True)
def subclassed_reader(rate=0.3):
    return Reader(rate)


class Pair(keras.Model):
    """Takes a dict and returns a nested structure."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        z = keras.Input((4,))
        drawn = layers.Dropout(rate)(layers.Dense(4)(z))
        self.inner = keras.Model(z, drawn)
        self.drop = layers.Dropout(rate)

    def call(self, inputs):
        a, b = self.inner(inputs["a"]), self.drop(inputs["b"])
        return {"sum": a + b, "rest": (inputs["a"] * 1.0, [b])}


def _pairs(rows):
    return {"a": floats(4)(rows), "b": floats(4, scale=2.0)(rows)}


@entry(_pairs)
def subclassed_with_structures(rate=0.4):
    return Pair(rate)


@entry(floats(3, 4))
def subclassed_in_a_sequential(rate=0.4):
    return keras.Sequential([Net(rate), layers.Flatten(), Net(rate)])


@entry(core=True)
def subclassed_in_a_graph(rate=0.4):
    x = keras.Input((4,))
    net = Net(rate)
    return keras.Model(x, layers.Concatenate()([net(x), net(ops.tanh(x)), x]))


@entry(core=True)
def a_subclass_of_a_graph(rate=0.4):
    class Doubled(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2.0 * super().call(inputs, training=training, mask=mask)

    x = keras.Input((4,))
    return Doubled(x, layers.Dense(2)(layers.Dropout(rate)(x)))


@entry(floats(4))
def a_subclass_of_a_sequential(rate=0.4):
    class Residual(keras.Sequential):
        def call(self, inputs, training=None, mask=None):
            return inputs + super().call(inputs, training=training)

    return Residual([layers.Dropout(rate), layers.Dense(4)])


class Counting(layers.Layer):
    """Counts how often it is called."""

    def build(self, input_shape):
        self.calls = self.add_weight((), "zeros", name="calls", trainable=False)

    def call(self, inputs):
        self.calls.assign(self.calls + 1.0)
        return inputs * 1.0


# On JAX, assignments to a variable in a pass do not outlive the pass.
_MOVES = dict.fromkeys(("tensorflow", "torch"), "counting|calls")


@entry(refused=_MOVES, one_by_one=False)
def a_layer_that_counts_its_calls(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dropout(rate)(Counting()(x)))


@entry(refused=_MOVES, one_by_one=False, core=True)
def a_layer_that_counts_its_drawn_calls(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, Counting()(layers.Dropout(rate)(x)))


class Block(layers.Layer):
    """A residual block that does not pass `training` to its dropout."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.dense = layers.Dense(4, activation="gelu")
        self.drop = layers.Dropout(rate)
        self.noise = layers.GaussianNoise(rate)

    def call(self, inputs):
        return inputs + self.drop(self.dense(self.noise(self.norm(inputs))))


@entry(core=True)
def blocks(rate=0.3):
    x = keras.Input((3, 4))
    h = Block(rate)(Block(rate)(x))
    return keras.Model(x, layers.GlobalAveragePooling1D()(h))


# Keras cannot call such a layer with keywords in a graph of TensorFlow.
@entry(backends=("jax", "torch"))
def rematerialized_blocks(rate=0.3):
    with keras.RematScope(mode="full"):
        dense = layers.Dense(4, activation="tanh")
    x = keras.Input((4,))
    h = dense(layers.Dropout(rate)(x))
    return keras.Model(x, layers.Dense(2)(layers.Dropout(rate)(h)))


@entry()
def optional_inputs(rate=0.4):
    class Both(layers.Layer):
        def call(self, a, b=None):
            return a if b is None else a + b

        def compute_output_shape(self, a_shape, b_shape=None):
            return a_shape

    a = keras.Input((4,), name="a")
    b = keras.Input((4,), name="b", optional=True)
    h = Both()(layers.Dropout(rate)(a), b)
    return keras.Model({"a": a, "b": b}, layers.Dense(2)(h))


def _first_only(rows):
    return {"a": floats(4)(rows), "b": None}


@entry(_first_only, core=True)
def optional_inputs_left_out(rate=0.4):
    return optional_inputs(rate)


@entry(backends=("torch",))
def a_module_of_torch(rate=0.4):
    import torch

    x = keras.Input((4,))
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
    h = layers.TorchModuleWrapper(module, output_shape=(None, 4))(
        layers.Dropout(rate)(x)
    )
    return keras.Model(x, h * 2.0)


@entry(law=None, warns="(?s).*torch_module_wrapper", backends=("torch",))
def a_dropout_of_torch(rate=0.4):  # E15
    import torch

    x = keras.Input((4,))
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(rate))
    h = layers.TorchModuleWrapper(module, output_shape=(None, 4))(x)
    return keras.Model(x, layers.Dropout(rate)(h))


@entry(backends=("jax",))
def a_function_of_jax(rate=0.4):
    import jax.numpy as jnp

    def apply(params, inputs):
        return jnp.tanh(inputs) * params["scale"]

    function = layers.JaxLayer(apply, params={"scale": jnp.ones(4)})
    x = keras.Input((4,))
    return keras.Model(x, function(layers.Dropout(rate)(x)))
