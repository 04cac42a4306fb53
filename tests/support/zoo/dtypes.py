"""Dtype policies of models and of single layers, and dtypes of inputs."""

import keras
from keras import layers
from keras import ops

import kerasdrop
from tests.support.zoo.registry import entry
from tests.support.zoo.registry import of_policy
from tests.support.zoo.registry import padded_tokens

FLOAT64 = ("tensorflow", "torch")  # JAX needs a setting at its start


def _model(rate, policy):
    with of_policy(policy):
        z = keras.Input((4, 3))
        inner = keras.Model(z, layers.LSTM(3, dropout=rate)(z))
        x = keras.Input((4, 3))
        h = layers.Dropout(rate)(layers.Dense(3, activation="tanh")(x))
        h = layers.MultiHeadAttention(1, 2, dropout=rate)(h, h)
        h = kerasdrop.layers.Dropout(rate)(
            inner(layers.LayerNormalization()(h))
        )
        return keras.Model(x, layers.Dense(2, dtype="float32")(h))


@entry(tolerance=1e-2, core=True)
def mixed_float16(rate=0.3):
    return _model(rate, "mixed_float16")


@entry(tolerance=1e-1, core=True)
def mixed_bfloat16(rate=0.3):
    return _model(rate, "mixed_bfloat16")


@entry(tolerance=1e-8, backends=FLOAT64)  # a rate of 1e-9 has an effect
def all_of_float64(rate=0.3):
    x = keras.Input((4,), dtype="float64")
    h = layers.Dense(3, activation="tanh", dtype="float64")(x)
    h = layers.Dropout(rate, dtype="float64")(h)
    return keras.Model(x, layers.Dense(2, dtype="float64")(h))


@entry(tolerance=1e-2)
def float16_outputs(rate=0.3):
    x = keras.Input((4,))
    h = layers.Dense(3, activation="tanh", dtype="float16")(x)
    return keras.Model(x, layers.Dropout(rate, dtype="float16")(h))


@entry(tolerance=1e-2, core=True)
def one_layer_of_float16(rate=0.3):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    h = layers.Dense(3, dtype="mixed_float16")(h)
    return keras.Model(x, layers.Dropout(rate, dtype="float32")(h) * 2.0)


@entry(padded_tokens(5), tolerance=1e-2)
def attention_of_padded_tokens_in_float16(rate=0.3):
    x = keras.Input((5,), dtype="int32")
    h = layers.Embedding(7, 4, mask_zero=True, dtype="mixed_float16")(x)
    h = layers.Attention(dropout=rate, dtype="mixed_float16")([h, h])
    h = layers.Dense(2, dtype="float32")(ops.sum(h, axis=1))
    return keras.Model(x, h)


@entry()
def a_layer_without_autocast(rate=0.3):
    x = keras.Input((4,))
    h = layers.Dropout(rate, autocast=False)(x)
    return keras.Model(x, layers.Dense(2, autocast=False)(h))


def _quantized(rate, mode):
    x = keras.Input((8,))
    h = layers.Dropout(rate)(layers.Dense(8, activation="tanh")(x))
    h = layers.EinsumDense("ab,bc->ac", 8, bias_axes="c")(h)
    model = keras.Model(x, layers.Dense(4)(layers.Dropout(rate)(h)))
    model.quantize(mode)
    return model


@entry(tolerance=1e-4, comparable=False)
def quantized_to_int8(rate=0.3):
    return _quantized(rate, "int8")


@entry(tolerance=1e-4, comparable=False)
def quantized_to_int4(rate=0.3):
    return _quantized(rate, "int4")


@entry(core=True)
def with_an_adapter(rate=0.3):
    x = keras.Input((4,))
    dense = layers.Dense(4)
    model = keras.Model(x, layers.Dropout(rate)(dense(layers.Dropout(rate)(x))))
    dense.enable_lora(2)
    return model


@entry()
def inputs_of_integers_that_are_cast(rate=0.3):
    x = keras.Input((4,), dtype="int32")
    h = layers.Rescaling(0.25)(x)
    return keras.Model(x, layers.Dropout(rate)(h) + ops.cast(x, "float32"))
