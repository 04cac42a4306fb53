"""Random functional models, which depend only on a seed.

A model grows in steps, each of which takes existing tensors and adds one.
Tensors are vectors `(batch, features)` or sequences `(batch, steps, features)`,
and some steps convert one into the other.
"""

import keras
import numpy as np
from keras import layers
from keras import ops

import kerasdrop

STEPS, FEATURES = 4, 6  # of sequences; all vectors have as many features
TOKENS = 7


class Grower:
    """Grows a model.

    Args:
        seed: Integer; models with the same seed differ only in their rates.
        rate: The rate of all layers that drop.
        depth: How deep models may be nested.
    """

    def __init__(self, seed, rate, depth=2):
        self.random = np.random.default_rng(seed)
        self.rate = rate
        self.depth = depth
        self.vectors, self.sequences = [], []
        self.shared = {}  # layers to call again, by their inputs

    def among(self, items):
        return items[self.random.integers(len(items))]

    def vector(self):
        """One of the vectors, usually a late one."""
        return self.among([*self.vectors[-3:], self.among(self.vectors)])

    def sequence(self):
        return self.among([*self.sequences[-3:], self.among(self.sequences)])

    def dense(self):
        activation = self.among(["tanh", "relu", "gelu", "sigmoid"])
        return layers.Dense(FEATURES, activation=activation)

    def drop(self):
        rate = self.rate * self.among([0.5, 1.0])
        make = self.among(
            [
                layers.Dropout,
                layers.Dropout,
                kerasdrop.layers.Dropout,
                layers.AlphaDropout,
            ]
        )
        return make(rate)

    def once_more(self, name, make):
        """A new layer, or one that was called before."""
        if name not in self.shared or self.random.random() < 0.7:
            self.shared[name] = make()
        return self.shared[name]

    def grow(self, count):
        """Takes `count` steps."""
        for _ in range(count):
            steps = list(VECTOR_STEPS)
            if self.sequences:
                steps += SEQUENCE_STEPS * 2
            result = self.among(steps)(self)
            (self.vectors, self.sequences)[len(result.shape) - 2].append(result)


def drop_vector(g):
    return g.once_more("drop", g.drop)(g.vector())


def dense_vector(g):
    return g.once_more("dense", g.dense)(g.vector())


def merge_vectors(g):
    pair = [g.vector(), g.vector()]
    merge = g.among(
        [layers.Add, layers.Multiply, layers.Maximum, layers.Subtract]
    )
    return merge()(pair)


def join_vectors(g):
    joined = layers.Concatenate()([g.vector(), g.vector(), g.vector()])
    return layers.Dense(FEATURES)(joined)


def mix_vectors(g):
    a, b = g.vector(), g.vector()
    mixed = [
        lambda: a * ops.sigmoid(b) + b,
        lambda: ops.where(a > b, a, -b),
        lambda: ops.mean(ops.stack([a, b, a * b], axis=1), axis=1),
        lambda: a - ops.mean(b, axis=-1, keepdims=True),
        lambda: ops.concatenate(ops.split(a, 2, axis=-1)[::-1], axis=-1) + b,
        lambda: ops.softmax(a, axis=-1) * ops.tanh(b),
        lambda: ops.flip(a, axis=1) - 0.5 * b,
    ]
    return g.among(mixed)()


def normalize_vector(g):
    make = g.among(
        [
            lambda: layers.BatchNormalization(trainable=False),
            layers.LayerNormalization,
            layers.RMSNormalization,
        ]
    )
    return make()(g.vector())


def reshape_and_back(g):
    parts = ops.reshape(g.vector(), (-1, 2, FEATURES // 2))
    parts = layers.Dense(FEATURES // 2, activation="tanh")(parts)
    return ops.reshape(ops.flip(parts, axis=1), (-1, FEATURES))


def rows_and_back(g):
    """Axis 0 is twice the batch in between."""
    a, b = (ops.reshape(g.vector(), (-1, FEATURES // 2)) for _ in range(2))
    h = layers.Dense(FEATURES // 2, activation="tanh")(a + b)
    return ops.reshape(h, (-1, FEATURES))


def inner_model(g):
    if g.depth == 0:
        return dense_vector(g)
    inner = g.once_more("inner", lambda: _inner(g))
    return inner([g.vector(), g.vector()])


def _inner(g):
    one, two = keras.Input((FEATURES,)), keras.Input((FEATURES,))
    seed = int(g.random.integers(2**31))
    inside = Grower(seed, g.rate, g.depth - 1)
    inside.vectors += [one, two]
    inside.grow(3)
    last = inside.vectors[-1] + one
    return keras.Model([one, two], inside.drop()(last) * 0.5 + two)


def repeat_vector(g):
    return layers.RepeatVector(STEPS)(g.vector())


VECTOR_STEPS = [
    drop_vector,
    drop_vector,
    dense_vector,
    merge_vectors,
    join_vectors,
    mix_vectors,
    normalize_vector,
    reshape_and_back,
    rows_and_back,
    inner_model,
    repeat_vector,
]


def drop_sequence(g):
    noise_shape = g.among([None, (None, 1, None), (None, None, 1)])
    make = g.among(
        [
            lambda: layers.Dropout(g.rate, noise_shape=noise_shape),
            lambda: layers.SpatialDropout1D(g.rate),
            lambda: kerasdrop.layers.LockedDropout(g.rate),
            lambda: layers.TimeDistributed(layers.Dropout(g.rate)),
        ]
    )
    return make()(g.sequence())


def recur(g):
    cls = g.among([layers.LSTM, layers.GRU, layers.SimpleRNN])
    rates = g.among(
        [
            {},
            {"dropout": g.rate},
            {"recurrent_dropout": g.rate},
            {"dropout": g.rate, "recurrent_dropout": g.rate},
        ]
    )
    to_sequence = bool(g.random.random() < 0.5)
    layer = cls(FEATURES, return_sequences=to_sequence, **rates)
    if to_sequence and g.random.random() < 0.3:
        layer = layers.Bidirectional(layer, merge_mode="ave")
    return layer(g.sequence())


def attend(g):
    query, value = g.sequence(), g.sequence()
    if g.random.random() < 0.5:
        layer = layers.MultiHeadAttention(2, 3, dropout=g.rate)
        return layer(
            query, value, use_causal_mask=bool(g.random.random() < 0.5)
        )
    cls = g.among([layers.Attention, layers.AdditiveAttention])
    return cls(dropout=g.rate)([query, value])


def convolve(g):
    layer = layers.Conv1D(FEATURES, 3, padding="same", activation="tanh")
    return layer(g.sequence())


def dense_steps(g):
    return layers.TimeDistributed(g.dense())(g.sequence())


def merge_sequences(g):
    merge = g.among([layers.Add, layers.Multiply, layers.Average])
    return merge()([g.sequence(), g.sequence()])


def add_vector(g):
    return g.sequence() + ops.expand_dims(g.vector(), 1)


def products_of_steps(g):
    a, b = g.sequence(), g.sequence()
    weights = ops.softmax(ops.matmul(a, ops.transpose(b, (0, 2, 1))))
    return ops.matmul(weights, b)


def pool(g):
    make = g.among([layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D])
    return make()(g.sequence())


def last_step(g):
    return g.sequence()[:, -1]


def normalize_steps(g):
    return layers.LayerNormalization()(g.sequence())


SEQUENCE_STEPS = [
    drop_sequence,
    recur,
    attend,
    convolve,
    dense_steps,
    merge_sequences,
    add_vector,
    products_of_steps,
    pool,
    last_step,
    normalize_steps,
]


def make(seed, rate=0.3):
    """A model that draws; models with the same seed differ only in the rate."""
    grower = Grower(seed, rate)
    inputs = {"vector": keras.Input((FEATURES,), name="vector")}
    grower.vectors.append(inputs["vector"])
    if seed % 2:
        x = keras.Input((STEPS, FEATURES), name="sequence")
        inputs["sequence"] = x
        grower.sequences.append(x)
    if seed % 3 == 0:
        x = keras.Input((STEPS,), dtype="int32", name="tokens")
        inputs["tokens"] = x
        table = layers.Embedding(TOKENS, FEATURES, mask_zero=True)
        grower.sequences.append(table(x))
    grower.grow(7)
    # The last vectors are always drawn.
    for _ in range(2):
        drawn = grower.drop()(grower.vectors[-1])
        grower.vectors.append(grower.dense()(drawn) + grower.vector())
    outputs = {"last": layers.Dense(2)(grower.vectors[-1])}
    if grower.sequences:
        outputs["sequence"] = grower.sequences[-1] * 1.0
    outputs["other"] = grower.vector() + 0.0
    return keras.Model(inputs, outputs)


def inputs_of(seed, model, rows):
    """Normal numbers, and tokens with zeros after the last."""
    random = np.random.default_rng(seed)
    x = {}
    for tensor in model.inputs:
        shape = (rows, *tensor.shape[1:])
        if tensor.name == "tokens":
            lengths = 2 + np.arange(rows)[:, None] % (STEPS - 1)
            tokens = random.integers(1, TOKENS, shape)
            x["tokens"] = np.where(np.arange(STEPS) < lengths, tokens, 0)
            x["tokens"] = x["tokens"].astype("int32")
        else:
            x[tensor.name] = random.normal(size=shape).astype("float32")
    return x
