"""Layers that draw always, in loops, unasked, or with noise shapes."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.support.zoo.registry import entry
from tests.support.zoo.registry import floats


class MCDropout(layers.Dropout):
    """The class of the book by Géron."""

    def call(self, inputs):
        return super().call(inputs, training=True)


class MCGaussianNoise(layers.GaussianNoise):
    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


class MCSpatialDropout(layers.SpatialDropout1D):
    def call(self, inputs, training=False):
        return super().call(inputs, training=True) + 1.0


@entry(core=True)
def always_on_beside_others(rate=0.4):  # E6
    x = keras.Input((4,))
    h = MCDropout(rate)(layers.Dense(4)(x))
    return keras.Model(x, layers.Dense(2)(layers.Dropout(rate)(h)))


@entry(core=True)
def always_on_alone(rate=0.4):  # E7
    return keras.Sequential([keras.Input((4,)), MCDropout(rate)])


@entry()
def always_on_noise(rate=0.4):
    x = keras.Input((4,))
    return keras.Model(x, MCGaussianNoise(rate)(x) * layers.Dropout(rate)(x))


@entry()
def always_on_and_something_around_it(rate=0.4):
    x = keras.Input((3, 4))
    return keras.Model(x, layers.Dense(2)(MCSpatialDropout(rate)(x)))


class Renamed(layers.Dropout):
    """A subclass that changes no number."""

    def __init__(self, rate, purpose="none", **kwargs):
        super().__init__(rate, **kwargs)
        self.purpose = purpose

    def get_config(self):
        return {**super().get_config(), "purpose": self.purpose}


class RenamedLSTM(layers.LSTM):
    pass


class RenamedAttention(layers.MultiHeadAttention):
    pass


class RenamedSelfAttention(layers.Attention):
    pass


@entry(core=True)
def subclasses_that_override_nothing(rate=0.3):  # E9
    x = keras.Input((4, 3))
    h = Renamed(rate)(x)
    h = RenamedAttention(2, 2, dropout=rate)(h, h)
    h = RenamedSelfAttention(dropout=rate)([h, h])
    return keras.Model(x, RenamedLSTM(3, dropout=rate)(h))


@entry(core=True)
def a_subclass_of_an_lstm(rate=0.4):
    return keras.Sequential([keras.Input((4, 3)), RenamedLSTM(3, dropout=rate)])


class IfTraining(layers.Layer):
    """Calls its dropout only in training."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.drop = layers.Dropout(rate)

    def call(self, inputs, training=False):
        return self.drop(inputs, training=True) if training else inputs


NOT_ASKED = {"refused": "in training only", "one_by_one": False}


@entry(**NOT_ASKED, core=True)  # E10
def dropout_that_is_not_asked(rate=0.5):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(2)(IfTraining(rate)(x)))


@entry(**NOT_ASKED)
def dropout_that_is_not_asked_beside_one_that_is(rate=0.5):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x)
    return keras.Model(x, layers.Dense(2)(IfTraining(rate)(h)))


class Sampling(layers.Layer):
    """The bottleneck of a variational model, as in tutorials."""

    def __init__(self, deviation, **kwargs):
        super().__init__(**kwargs)
        self.deviation = deviation
        self.seed_generator = keras.random.SeedGenerator(5)

    def call(self, inputs):
        noise = keras.random.normal(ops.shape(inputs), seed=self.seed_generator)
        return inputs + self.deviation * noise


BY_KERAS = {"by_keras": True, "warns": "(?s).*random numbers of their own"}


@entry(**BY_KERAS, core=True)
def a_sampler_beside_dropout(rate=0.4):  # E8
    x = keras.Input((4,))
    return keras.Model(x, Sampling(rate)(layers.Dropout(rate)(x)))


@entry(**BY_KERAS)
def a_sampler_alone(rate=0.4):
    return keras.Sequential([keras.Input((4,)), Sampling(rate)])


# Keras refuses such a layer when JAX compiles it.
@entry(backends=("tensorflow", "torch"), **BY_KERAS)
def a_lambda_that_drops(rate=0.4):
    x = keras.Input((4,))
    drop = layers.Lambda(
        lambda t: keras.random.dropout(t, rate), output_shape=(4,)
    )
    return keras.Model(x, drop(layers.Dropout(rate)(x)))


class AddingCell(layers.Layer):
    """Adds its inputs after dropout to its state."""

    state_size = output_size = 2

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.drop = layers.Dropout(rate)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, states, training=False):
        h = states[0] + self.drop(inputs, training=training)
        return h, [h]


def _ones(*shape):
    return lambda rows: np.ones((rows, *shape), "float32")


@entry(_ones(3, 2), law="masks", core=True)
def dropout_in_a_cell_of_yours(rate=0.4):  # E11
    x = keras.Input((3, 2))
    return keras.Model(x, layers.RNN(AddingCell(rate), unroll=True)(x))


@entry(_ones(5, 2), law=None, core=True)
def dropout_in_a_loop_over_steps(rate=0.4):
    x = keras.Input((5, 2))
    return keras.Model(x, layers.RNN(AddingCell(rate))(x))


class Scanning(layers.Layer):
    """Drops inside an operation that runs its body many times."""

    def __init__(self, rate, how, **kwargs):
        super().__init__(**kwargs)
        self.drop, self.how = layers.Dropout(rate), how

    def call(self, inputs):
        steps = ops.transpose(inputs, (1, 0, 2))
        start = ops.zeros_like(steps[0])
        if self.how == "scan":
            return ops.scan(self._step, start, steps)[0]
        if self.how == "map":
            return ops.sum(ops.map(self.drop, steps), axis=0)
        if self.how == "fori":
            return ops.fori_loop(
                0, 3, lambda i, h: h + self.drop(steps[0]), start
            )
        return ops.while_loop(
            lambda i, h: i < 3,
            lambda i, h: (i + 1, h + self.drop(steps[0])),
            (0, start),
        )[1]

    def _step(self, h, step):
        h = h + self.drop(step)
        return h, h

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[2])


def _loop(how):
    def make(rate=0.4):
        x = keras.Input((3, 2))
        return keras.Model(x, Scanning(rate, how)(x))

    make.__name__ = f"dropout_in_{how}"
    # PyTorch runs the body each time. The other backends trace it once.
    refused = dict.fromkeys(("jax", "tensorflow"), "scanning.* inside a loop")
    return entry(_ones(3, 2), refused=refused, one_by_one=False)(make)


LOOPS = [_loop(how) for how in ("scan", "map", "fori", "while")]


class Frozen(layers.Layer):
    """Calls its inner layer in inference, whatever `training` is."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs, training=False)


@entry(law=None, core=True)
def a_frozen_extractor(rate=0.4):  # E14
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.Dropout(rate)]
    )
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(2)(Frozen(inner)(x)))


@entry()
def called_in_training(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x, training=True)
    h = layers.BatchNormalization(trainable=False)(h)
    return keras.Model(x, layers.Dense(2)(h))


@entry()
def called_in_inference(rate=0.4):
    x = keras.Input((4,))
    h = layers.Dropout(rate)(x, training=False)
    return keras.Model(x, layers.Dense(2)(layers.Dropout(rate)(h)))


def _noise_shape(name, shape, share=False):
    def make(rate=0.4):
        x = keras.Input((3, 4))
        h = layers.Dropout(rate, noise_shape=shape)(x)
        return keras.Model(x, layers.Dense(2)(h))

    make.__name__ = f"noise_shape_of_{name}"
    law = None if share else "training"
    return entry(rows_share_masks=share, law=law)(make)


NOISE_SHAPES = [
    _noise_shape("features", (None, 1, None)),
    _noise_shape("steps", (None, None, 1)),
    _noise_shape("numbers", (None, 3, 1)),
    _noise_shape("rows", (None, 1, 1)),
    _noise_shape("all_rows", (1, 3, 4), share=True),
    _noise_shape("fewer_axes", (3, 4), share=True),
    _noise_shape("one_axis", (4,), share=True),
]


@entry(core=True)
def all_stock_dropouts(rate=0.3):
    x = keras.Input((3, 4))
    image, volume = keras.Input((2, 3, 4)), keras.Input((2, 2, 2, 3))
    channels_first = keras.Input((4, 2, 3))
    spatial = layers.SpatialDropout2D
    return keras.Model(
        [x, image, volume, channels_first],
        [
            layers.Dropout(rate)(x),
            layers.AlphaDropout(rate)(x),
            layers.AlphaDropout(rate, noise_shape=(None, 1, 4))(x),
            layers.GaussianDropout(rate**2)(x),
            layers.GaussianNoise(rate)(x),
            layers.SpatialDropout1D(rate)(x),
            spatial(rate, data_format="channels_last")(image),
            spatial(rate, data_format="channels_first")(channels_first),
            layers.SpatialDropout3D(rate)(volume),
        ],
    )


class Repeated(layers.Layer):
    """Calls one dropout many times, and others from a list and a dict."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.one = layers.Dropout(rate)
        self.many = [layers.Dropout(rate / 2), layers.Dense(4)]
        self.named = {"last": layers.Dropout(rate)}

    def call(self, inputs, training=None):
        h = inputs
        for _ in range(3):
            h = self.one(h, training=training) + inputs
        for layer in self.many:
            h = layer(h)
        return self.named["last"](h, training=training)


@entry()
def a_block_that_calls_one_dropout_three_times(rate=0.3):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(2)(Repeated(rate)(x)))


@entry(floats(4), law="masks")
def dropout_of_a_scale_for_each_row(rate=0.4):
    # All features of a row share a number, so whole rows are dropped.
    x = keras.Input((4,))
    scale = layers.Dropout(rate)(ops.ones_like(x[:, :1]))
    return keras.Model(x, x * scale)
