"""Ten small models, each with another shape of graph."""

import keras
import numpy as np
from keras import layers
from keras import ops

import kerasdrop

ROWS, FEATURES = 6, 8


def _dense(units, x):
    return layers.Dense(units, activation="tanh")(x)


def stack():
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(12, activation="relu"),
            layers.BatchNormalization(),
            kerasdrop.layers.Dropout(0.4),
            layers.Dense(3),
        ]
    )


def skip_connections():
    x = keras.Input((FEATURES,))
    early = _dense(8, x)
    h = layers.Dropout(0.3)(early)
    h = layers.Add()([_dense(8, h), early])
    h = layers.Concatenate()([layers.Dropout(0.5)(h), x])
    return keras.Model(x, layers.Dense(3)(h))


def several_inputs_and_outputs():
    a, b = keras.Input((FEATURES,), name="a"), keras.Input((2,), name="b")
    h = kerasdrop.layers.Dropout(0.5)(_dense(8, a))
    both = layers.Concatenate()([h, b])
    return keras.Model(
        {"a": a, "b": b},
        {"drawn": layers.Dense(3)(both), "plain": layers.Dense(2)(b)},
    )


def nested():
    inner_x = keras.Input((8,))
    inner = keras.Model(
        inner_x,
        layers.Dropout(0.4)(layers.BatchNormalization()(_dense(8, inner_x))),
    )
    x = keras.Input((FEATURES,))
    return keras.Model(x, layers.Dense(3)(inner(_dense(8, x))))


def nested_shared():
    inner = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, activation="relu"),
            kerasdrop.layers.Dropout(0.4),
        ]
    )
    x = keras.Input((FEATURES,))
    return keras.Model(x, layers.Add()([inner(x), inner(inner(_dense(8, x)))]))


def layer_shared_over_the_frontier():
    shared = layers.Dense(8, activation="tanh")
    x = keras.Input((FEATURES,))
    h = layers.Dropout(0.5)(shared(x))
    return keras.Model(x, shared(h))


def operations_on_tensors():
    x = keras.Input((FEATURES,))
    h = layers.Dropout(0.5)(_dense(8, x))
    h = ops.concatenate([h * 2.0 + x, ops.square(x)], axis=-1)
    return keras.Model(x, ops.sum(h, axis=-1, keepdims=True) - x)


def input_in_the_frontier():
    x = keras.Input((FEATURES,))
    h = layers.Dropout(0.2)(x)
    return keras.Model(x, layers.Dense(3)(layers.Add()([h, x])))


def convolutions():
    x = keras.Input((6, 6, 2))
    h = layers.Conv2D(4, 3, activation="relu")(x)
    h = kerasdrop.layers.Dropout(0.3, noise_shape=(None, 1, 1, None))(h)
    h = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(h))
    return keras.Model(x, layers.Dense(3)(layers.Dropout(0.5)(h)))


def masked_sequence():
    x = keras.Input((5,), dtype="int32")
    h = layers.Embedding(7, 8, mask_zero=True)(x)
    h = layers.Dropout(0.3)(h)
    return keras.Model(x, layers.Dense(3)(layers.LSTM(6)(h)))


ALL = (
    stack,
    skip_connections,
    several_inputs_and_outputs,
    nested,
    nested_shared,
    layer_shared_over_the_frontier,
    operations_on_tensors,
    input_in_the_frontier,
    convolutions,
    masked_sequence,
)


def inputs_of(model, rows=ROWS):
    """Inputs that fit the model: normal floats, integers below 7."""
    generator = np.random.default_rng(0)

    def draw(symbolic):
        shape = (rows, *symbolic.shape[1:])
        if "int" in symbolic.dtype:
            return generator.integers(0, 7, shape).astype("int32")
        return generator.normal(size=shape).astype("float32")

    if len(model.inputs) == 1:
        return draw(model.inputs[0])
    return {symbolic.name: draw(symbolic) for symbolic in model.inputs}
