"""Graphs with branches, shared layers, inner models, several outputs."""

import keras
from keras import layers
from keras import ops

import kerasdrop
from tests.support.zoo.registry import entry

FEATURES = 8


def dense(units, x):
    return layers.Dense(units, activation="tanh")(x)


@entry(core=True)
def stack(rate=0.4):
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(12, activation="relu"),
            layers.BatchNormalization(trainable=False),
            kerasdrop.layers.Dropout(rate),
            layers.Dense(3),
        ]
    )


@entry()
def skip_connections(rate=0.4):
    x = keras.Input((FEATURES,))
    early = dense(8, x)
    h = layers.Dropout(rate)(early)
    h = layers.Add()([dense(8, h), early])
    h = layers.Concatenate()([layers.Dropout(rate)(h), x])
    return keras.Model(x, layers.Dense(3)(h))


@entry(core=True)
def several_inputs_and_outputs(rate=0.5):
    a, b = keras.Input((FEATURES,), name="a"), keras.Input((2,), name="b")
    h = kerasdrop.layers.Dropout(rate)(dense(8, a))
    both = layers.Concatenate()([h, b])
    return keras.Model(
        {"a": a, "b": b},
        {"drawn": layers.Dense(3)(both), "plain": layers.Dense(2)(b)},
    )


@entry(core=True)
def nested(rate=0.4):
    inner_x = keras.Input((8,))
    normalized = layers.BatchNormalization(trainable=False)(dense(8, inner_x))
    inner = keras.Model(inner_x, layers.Dropout(rate)(normalized))
    x = keras.Input((FEATURES,))
    return keras.Model(x, layers.Dense(3)(inner(dense(8, x))))


@entry(core=True)
def nested_shared(rate=0.4):
    inner = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, activation="relu"),
            kerasdrop.layers.Dropout(rate),
        ]
    )
    x = keras.Input((FEATURES,))
    return keras.Model(x, layers.Add()([inner(x), inner(inner(dense(8, x)))]))


@entry()
def layer_shared_over_the_frontier(rate=0.5):
    shared = layers.Dense(8, activation="tanh")
    x = keras.Input((FEATURES,))
    h = layers.Dropout(rate)(shared(x))
    return keras.Model(x, shared(h))


@entry()
def operations_on_tensors(rate=0.5):
    x = keras.Input((FEATURES,))
    h = layers.Dropout(rate)(dense(8, x))
    h = ops.concatenate([h * 2.0 + x, ops.square(x)], axis=-1)
    return keras.Model(x, ops.sum(h, axis=-1, keepdims=True) - x)


@entry()
def input_in_the_frontier(rate=0.2):
    x = keras.Input((FEATURES,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, layers.Dense(3)(layers.Add()([h, x])))


@entry(core=True)
def convolutions(rate=0.4):
    x = keras.Input((6, 6, 2))
    h = layers.Conv2D(4, 3, activation="relu")(x)
    noise_shape = (None, 1, 1, None)
    h = kerasdrop.layers.Dropout(rate, noise_shape=noise_shape)(h)
    h = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(h))
    return keras.Model(x, layers.Dense(3)(layers.Dropout(rate)(h)))


@entry(core=True)
def masked_sequence(rate=0.3):
    x = keras.Input((5,), dtype="int32")
    h = layers.Embedding(7, 8, mask_zero=True)(x)
    h = layers.Dropout(rate)(h)
    return keras.Model(x, layers.Dense(3)(layers.LSTM(6)(h)))


TOPOLOGIES = (
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


@entry(law="masks", core=True)
def two_layers_of_few_units(rate=0.5):
    x = keras.Input((4,))
    h = dense(3, layers.Dropout(0.5 * rate)(x))
    return keras.Model(x, layers.Dense(2)(layers.Dropout(rate)(h)))


@entry(law="masks")
def a_dropout_called_twice(rate=0.5):
    x = keras.Input((4,))
    drop = layers.Dropout(rate)
    return keras.Model(x, layers.Subtract()([drop(x), drop(ops.tanh(x))]))


@entry(law="masks")
def an_inner_model_called_twice(rate=0.5):
    z = keras.Input((4,))
    inner = keras.Model(z, layers.Dropout(rate)(z))
    x = keras.Input((4,))
    return keras.Model(x, ops.concatenate([inner(x), inner(x) * x], -1))


@entry(core=True)
def inner_model_of_dicts(rate=0.4):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    drawn = layers.Dropout(rate)(layers.Add()([a, b]))
    inner = keras.Model({"a": a, "b": b}, {"sum": drawn, "first": a * 1.0})
    x = keras.Input((4,))
    out = inner({"b": dense(4, x), "a": x})
    return keras.Model(x, layers.Dense(3)(out["sum"] * out["first"]))


@entry()
def inner_model_of_lists(rate=0.4):
    a, b = keras.Input((4,)), keras.Input((3,))
    drawn = layers.Dropout(rate)(layers.Concatenate()([a, b]))
    inner = keras.Model([a, b], [drawn, b, a + 1.0])
    x = keras.Input((4,))
    one, two, three = inner([x, dense(3, x)])
    return keras.Model(x, [layers.Dense(2)(one), two, three])


@entry()
def sequential_in_functional_in_sequential(rate=0.4):
    block = keras.Sequential(
        [layers.Dense(5, activation="tanh"), layers.Dropout(rate)]
    )
    z = keras.Input((5,))
    middle = keras.Model(z, layers.Add()([block(z), z]))
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(5),
            middle,
            keras.Sequential([layers.Dropout(rate), layers.Dense(2)]),
        ]
    )


@entry()
def three_levels_deep(rate=0.4):
    inner = None
    for _ in range(3):
        z = keras.Input((4,))
        h = dense(4, z if inner is None else inner(z))
        inner = keras.Model(z, layers.Dropout(rate)(h))
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(2)(inner(x)) * ops.sum(x, -1, True))


@entry()
def outputs_that_are_inputs(rate=0.5):
    x = keras.Input((4,))
    drawn = layers.Dropout(rate)(x)
    return keras.Model(x, {"input": x, "drawn": drawn, "again": drawn})


@entry()
def a_model_of_its_dropout_alone(rate=0.5):
    return keras.Sequential([keras.Input((5,)), layers.Dropout(rate)])


@entry()
def dropout_on_one_of_two_inputs(rate=0.5):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model([a, b], layers.Dropout(rate)(a) * b + b)


@entry()
def nested_structures_of_outputs(rate=0.5):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(
        x, {"a": [layers.Dense(2)(h), h], "b": {"c": layers.Dense(1)(x)}}
    )


@entry()
def an_output_of_an_early_layer_of_an_inner_model(rate=0.5):
    z = keras.Input((4,))
    early = layers.Dropout(rate)(dense(3, z))
    whole = keras.Model(z, layers.Dense(2)(early))
    cut = keras.Model(whole.inputs[0], [whole.layers[2].output, whole.output])
    x = keras.Input((4,))
    one, two = cut(x)
    return keras.Model(x, layers.Concatenate()([one, two]))


@entry()
def a_model_cut_out_of_another(rate=0.5):
    whole = skip_connections(rate)
    return keras.Model(whole.inputs[0], whole.layers[-2].output)


@entry()
def shared_embedding_of_two_towers(rate=0.3):
    a = keras.Input((4,), dtype="int32", name="a")
    b = keras.Input((4,), dtype="int32", name="b")
    table, drop = layers.Embedding(7, 4), layers.Dropout(rate)
    tower = keras.Sequential([layers.Flatten(), layers.Dense(4)])
    ends = [tower(drop(table(side))) for side in (a, b)]
    return keras.Model([a, b], layers.Dot(axes=1, normalize=True)(ends))


@entry()
def dense_blocks(rate=0.2):
    x = keras.Input((4,))
    h = [x]
    for _ in range(4):
        joined = layers.Concatenate()(h) if len(h) > 1 else h[0]
        h.append(layers.Dropout(rate)(dense(3, joined)))
    return keras.Model(x, layers.Concatenate()(h))


@entry()
def dropout_behind_the_output_of_another(rate=0.5):
    x = keras.Input((4,))
    first = layers.Dense(3)(layers.Dropout(rate)(x))
    second = layers.Dense(2)(layers.Dropout(rate)(ops.stop_gradient(first)))
    return keras.Model(x, [first, second])


@entry()
def a_gate(rate=0.5):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(dense(4, x))
    gate = layers.Dense(4, activation="sigmoid")(x)
    return keras.Model(x, gate * h + (1.0 - gate) * x)


@entry()
def a_rate_for_each_layer(rate=0.6):
    x = h = keras.Input((5,))
    for part in (1.0, 0.5, 0.0, 0.25):
        h = dense(5, layers.Dropout(part * rate)(h))
    return keras.Model(x, h)
