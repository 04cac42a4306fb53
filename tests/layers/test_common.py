"""Every layer, held to the same promises.

A new layer is one line of `CASES`. What it cannot promise it names there, by
the topic of the tests, with the reason.
"""

import dataclasses
import functools
import inspect
import json
import statistics
from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import layers
from kerasdrop import masks
from kerasdrop import schedules
from kerasdrop.masks import plans
from tests.support import helpers
from tests.support import known_masks
from tests.support import traced

stock = keras.layers
BACKEND = keras.backend.backend()

SELU_LIMIT = -1.7580993408473766  # Klambauer et al. 2017: -lambda alpha


# What a layer shall compute, in numpy, from the paper's formula: functions of
# inputs `(rows, ...)`, of what the mask was drawn from and of the rate.


def inverted(x, keep, rate):
    return np.where(keep, x / (1.0 - rate), 0.0)


def classic(x, keep, rate):
    return np.where(keep, x, 0.0)


def alpha(x, keep, rate):
    a = ((1.0 - rate) * (1.0 + rate * SELU_LIMIT**2)) ** -0.5
    return a * np.where(keep, x, SELU_LIMIT) - a * SELU_LIMIT * rate


def masked(formula, noise_shape=None):
    """A reference that draws a mask, and applies a formula."""

    def outputs(x, words, rate):
        sizes = [
            size if noise is None else noise
            for noise, size in zip(noise_shape or (None,) * x.ndim, x.shape)
        ]
        return formula(x, known_masks.kept_array(words(sizes), rate), rate)

    return outputs


def blocks(block_size, first_axis):
    """A reference of DropBlock: block by block."""

    def outputs(x, words, rate):
        lengths = [1] * x.ndim
        lengths[first_axis : first_axis + len(block_size)] = block_size
        places = [f - b + 1 for f, b in zip(x.shape, lengths)]
        gamma = rate
        for axis, b in enumerate(block_size, first_axis):
            gamma *= x.shape[axis] / (b * places[axis])
        keep = np.ones(x.shape, bool)
        begins = ~known_masks.kept_array(words(places), gamma)
        for place in np.argwhere(begins):
            block = (slice(p, p + b) for p, b in zip(place, lengths))
            keep[tuple(block)] = False
        kept = keep.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
        return np.where(keep, x / kept, 0.0)

    return outputs


def gaussian(x, words, rate):
    # 23 bits of a word, as the middle of one of so many equal parts.
    uniform = ((words(x.shape) >> 9) + 2**22 + 0.5) / 2**23
    inverse = np.vectorize(statistics.NormalDist().inv_cdf)
    return x * (1.0 + np.sqrt(rate / (1.0 - rate)) * inverse(uniform))


def concrete(noise_shape=(None, None, None)):
    """A reference of concrete dropout, at its temperature of .1."""

    def outputs(x, words, rate):
        pairs = zip(noise_shape, x.shape)
        word = words(
            [size if noise is None else noise for noise, size in pairs]
        )
        uniform = ((word >> 9) + 2**22 + 0.5) / 2**23
        log_odds = np.log(rate / (1 - rate)) + np.log(uniform / (1 - uniform))
        z = 1.0 / (1.0 + np.exp(-log_odds / 0.1))
        return x * (1.0 - z) / (1.0 - rate)

    return outputs


def connections(x, words, rate):
    """A reference of DropConnect with an identity as kernel."""
    rows, _, units = x.shape
    keep = known_masks.kept_array(words((rows, units, units)), rate)
    kept = np.diagonal(keep, axis1=1, axis2=2)
    return inverted(x, kept[:, None], rate)


def around(formula):
    """A reference of a layer, which leaves its inputs, added to them."""
    return lambda x, *others: x + formula(x, *others)


def identity(x, rate):
    return x


def scaled(x, rate):
    return x * (1.0 - rate)


def inverted_variance(rate):
    return rate / (1.0 - rate)


def classic_variance(rate):
    return rate * (1.0 - rate)


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer, in one setting.

    Attributes:
        make: Function of a rate and of keyword arguments; makes the layer.
        shape: Of a row of inputs.
        stochastic: Function of (inputs, words, rate): what is to come out in
            training, in numpy. `words` gives those of a shape.
        inference: The same without words.
        variance: Function of a rate: that of an output whose input is 1; or
            None, if no such is claimed.
        stock: The layer of Keras with the same name and settings, a function
            of a rate and keyword arguments; or None.
        seed_inside: Function of the layer's seed that returns that of the
            dropout layer in it which draws.
        opt_outs: Topics of tests, with the reason.
    """

    make: Callable
    shape: tuple
    stochastic: Callable
    inference: Callable = identity
    variance: Callable | None = inverted_variance
    stock: Callable | None = None
    seed_inside: Callable = int
    opt_outs: dict = dataclasses.field(default_factory=dict)


def scheduled(rate, **arguments):
    return layers.ScheduledDropout(schedules.Constant(rate), **arguments)


def deep(rate, **arguments):
    # The inputs of these tests are positive: it leaves them.
    relu = stock.Activation("relu")
    return layers.StochasticDepth(relu, rate, **arguments)


def wrapping(cls, rate, dtype=None, **arguments):
    """A layer around one that leaves its inputs."""
    layer = stock.Dense(
        4, use_bias=False, kernel_initializer="identity", dtype=dtype
    )
    return cls(layer, rate, dtype=dtype, **arguments)


@keras.saving.register_keras_serializable("kerasdrop_tests")
class Adapted(layers.LoRAInputDropout):
    """An adapter that leaves its inputs."""

    def build(self, shape):
        super().build(shape)
        for matrix in (self.layer.lora_kernel_a, self.layer.lora_kernel_b):
            matrix.assign(ops.eye(4))


def adapted(rate, dtype=None, **arguments):
    """Around a layer that leaves its inputs, too."""
    layer = stock.Dense(
        4,
        use_bias=False,
        kernel_initializer="identity",
        lora_rank=4,
        dtype=dtype,
    )
    return Adapted(layer, rate, dtype=dtype, **arguments)


@keras.saving.register_keras_serializable("kerasdrop_tests")
class Embedded(layers.EmbeddingDropout):
    """Inputs times vectors of ones, those of the ids 0, 1, 2, ... of steps."""

    def build(self, shape):
        super().build(shape[:2])

    def call(self, inputs, training=None):
        sizes = ops.shape(inputs)[:2]
        ids = ops.broadcast_to(ops.arange(sizes[1], dtype="int32"), sizes)
        vectors = super().call(ids, training)
        return ops.cast(inputs, vectors.dtype) * vectors

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor(inputs.shape, self.compute_dtype)

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask


def embedded(rate, dtype=None, **arguments):
    ones = stock.Embedding(5, 4, embeddings_initializer="ones", dtype=dtype)
    return Embedded(ones, rate, dtype=dtype, **arguments)


def pair(name, **arguments):
    """Our layer and its stock twin, with the same arguments."""
    return {
        "make": functools.partial(getattr(layers, name), **arguments),
        "stock": functools.partial(getattr(stock, name), **arguments),
    }


class _OneInside:
    """The state of a layer is that of the dropout layer in it."""

    @property
    def inside(self):
        return getattr(self, self.name_inside)

    @property
    def rate(self):
        return self.inside.rate

    @rate.setter
    def rate(self, value):
        self.inside.rate = value

    @property
    def step(self):
        return self.inside.step

    @property
    def _state(self):
        return self.inside._state


@keras.saving.register_keras_serializable("kerasdrop_tests")
class RNN(_OneInside, layers.DropoutRNN):
    name_inside = "input_dropout"


def steady(rate, dtype=None, **arguments):
    """A recurrent layer that leaves its inputs, but for what it drops."""
    cell = stock.SimpleRNNCell(
        4,
        activation=None,
        use_bias=False,
        kernel_initializer="identity",
        recurrent_initializer="zeros",
        dtype=dtype,
    )
    return RNN(cell, rate, return_sequences=True, dtype=dtype, **arguments)


class _Recurrent(_OneInside):
    @property
    def inside(self):
        return self._dropout_layers[0]


def _recurrent(name):
    """A subclass whose state is that of the dropout of its inputs."""
    # Of the same name, by which Keras finds weights in a file.
    cls = type(name, (_Recurrent, getattr(layers, name)), {})
    return keras.saving.register_keras_serializable("kerasdrop_recurrent")(cls)


RECURRENT = {
    name: _recurrent(name)
    for name in (
        *("LSTM", "GRU", "SimpleRNN", "RNN"),
        *("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
    )
}


@keras.saving.register_keras_serializable("kerasdrop_tests")
class Candidate(keras.initializers.Initializer):
    """A kernel that hands the inputs to the candidate, and to no gate."""

    def __init__(self, place):
        self.place = place

    def __call__(self, shape, dtype=None):
        kernel = np.zeros(shape, "float32")
        kernel[..., self.place * 4 : (self.place + 1) * 4] = np.eye(4)
        return ops.convert_to_tensor(kernel, dtype)

    def get_config(self):
        return {"place": self.place}


@keras.saving.register_keras_serializable("kerasdrop_tests")
class Open(keras.initializers.Initializer):
    """The bias of an LSTM that lets its candidate through, and forgets."""

    def __call__(self, shape, dtype=None):
        return ops.convert_to_tensor(np.repeat([1, 0, 0, 1], 4), dtype)


def thinned(classes, name, *sizes):
    """A layer that leaves its inputs, but for what it drops: of a rate."""
    is_lstm = "LSTM" in name
    place = {"GRU": 2, "SimpleRNN": 0}.get(name, 2)
    arguments = {
        "activation": None,
        "recurrent_initializer": "zeros",
        "kernel_initializer": Candidate(place),
    }
    if name != "SimpleRNN":
        arguments["recurrent_activation"] = "linear"
    if is_lstm:
        arguments |= {"unit_forget_bias": False, "bias_initializer": Open()}

    def make(rate, **others):
        return classes[name](
            4,
            *sizes,
            dropout=rate,
            return_sequences=True,
            unroll=True,  # or each test compiles a loop
            **arguments,
            **others,
        )

    return make


def live_cell(rate, dtype=None, **others):
    cell = stock.SimpleRNNCell(
        4,
        activation=None,
        kernel_initializer="identity",
        recurrent_initializer="zeros",
        dtype=dtype,
    )
    arguments = {"return_sequences": True, "unroll": True, "dtype": dtype}
    if rate is None:
        rate = np.nan  # of RNN, None is the rate of the cell
    return RECURRENT["RNN"](cell, dropout=rate, **arguments, **others)


def by_gate(x, words, rate):
    """A reference of ConvLSTM: its third mask is that of the candidate."""
    sizes = [x.shape[0], *x.shape[2:-1], 4 * x.shape[-1]]
    keep = known_masks.kept_array(words(sizes), rate)
    keep = np.split(keep, 4, axis=-1)[2]
    return inverted(x, keep[:, None], rate)


@keras.saving.register_keras_serializable("kerasdrop_tests")
class OneHead(keras.initializers.Initializer):
    """An identity as a kernel of attention with one head."""

    def __call__(self, shape, dtype=None):
        return ops.reshape(ops.eye(4, dtype=dtype), shape)


class _SelfAttention(_OneInside):
    """Attention of inputs to themselves."""

    name_inside = "_dropout_layer"

    def build(self, shape):
        super().build(shape, shape)

    def call(self, inputs, training=None):
        return super().call(inputs, inputs, training=training)

    def compute_output_shape(self, shape, *others):
        return shape

    def compute_output_spec(self, inputs, training=None):
        return super().compute_output_spec(inputs, inputs)


@keras.saving.register_keras_serializable("kerasdrop_tests")
class SelfAttention(_SelfAttention, layers.MultiHeadAttention):
    pass


@keras.saving.register_keras_serializable("kerasdrop_tests")
class GroupedSelfAttention(_SelfAttention, layers.GroupQueryAttention):
    pass


def attention(cls, sizes, rate, **arguments):
    """Attention with one head, and identities as kernels."""
    return cls(
        *sizes,
        dropout=rate,
        use_bias=False,
        kernel_initializer=OneHead(),
        **arguments,
    )


def attention_weights(x):
    scores = np.exp(x @ np.swapaxes(x, -1, -2) / 2)  # the root of 4 features
    return scores / scores.sum(axis=-1, keepdims=True)


def attended(x, words, rate):
    """A reference of self-attention whose weights are dropped."""
    rows, steps, _ = x.shape
    keep = known_masks.kept_array(words((rows, 1, steps, steps)), rate)
    return inverted(attention_weights(x), keep[:, 0], rate) @ x


def attended_at_inference(x, rate):
    return attention_weights(x) @ x


def attended_keys(x, words, rate):
    """The same where logits are dropped; a query that loses all keeps all."""
    rows, steps, _ = x.shape
    keep = known_masks.kept_array(words((rows, 1, steps, steps)), rate)[:, 0]
    keep |= ~keep.any(axis=-1, keepdims=True)
    weights = attention_weights(x) * keep
    return weights / weights.sum(axis=-1, keepdims=True) @ x


ALPHA = {
    "variance": None,  # it claims another: tests/layers/test_alpha.py
    "opt_outs": {
        "expectation": "of inputs of mean 0 only: tests/layers/test_alpha.py"
    },
}
BLOCK = {
    "variance": None,
    "opt_outs": {
        "expectation": "of a row only: tests/layers/test_drop_block.py",
        "rate one": "blocks overlap: tests/layers/test_drop_block.py",
    },
}
LEARNED = {
    "variance": None,  # that of relaxed noise: tests/layers/test_concrete.py
    "opt_outs": {
        "expectation": "of relaxed noise: tests/layers/test_concrete.py",
        "rate zero": "it cannot be learned from: refused",
        "rate one": "it cannot be learned from: refused",
        "setting": "its rate is learned: tests/layers/test_concrete.py",
        "schedule": "its rate is learned: tests/layers/test_concrete.py",
        "unknown sizes": "a kernel has one: tests/layers/test_concrete.py",
    },
}
OF_ATTENTION = {
    "rate zero": "softmax is rounded by each in its way: test_attention.py",
    "unknown sizes": "a kernel has one",
    "integers": "the projections of Keras get them first",
}
ATTENTION = {
    "shape": (5, 4),
    "stochastic": attended,
    "inference": attended_at_inference,
    "variance": None,  # that of a sum of weights
}
OF_RECURRENT = {
    "seed_inside": lambda seed: masks.derived_seed(seed, 0),
    "opt_outs": {
        "unknown sizes": "a kernel has one",
        "integers": "the cast of Keras gets them first",
        "None as a rate": "it is no rate: test_recurrent_drop_ins.py",
        "stock draws": "two layers draw for one of Keras: other masks",
    },
}
OF_LSTM = {
    **OF_RECURRENT,
    "opt_outs": {
        **OF_RECURRENT["opt_outs"],
        # In a `BiasAdd` of its cell.
        **(
            {"no rows": "that of Keras fails"}
            if BACKEND == "tensorflow"
            else {}
        ),
    },
}
OF_CONVOLUTION = {
    **OF_RECURRENT,
    "opt_outs": {
        **OF_RECURRENT["opt_outs"],
        "padding mask": "that of Keras takes one of whole frames",
    },
}
NO_RATE = "None as a rate"
FILES = "files"
FIRST = {"data_format": "channels_first"}
LAST = {"data_format": "channels_last"}
ROW = (None, 1, 1)
STEPS = (None, 1, None)
IMAGE = (None, 1, 1, None)
IMAGE_FIRST = (None, None, 1, 1)
VOLUME = (None, 1, 1, 1, None)
VOLUME_FIRST = (None, None, 1, 1, 1)

CASES = {
    "Dropout": Case(
        **pair("Dropout"), shape=(5, 4), stochastic=masked(inverted)
    ),
    "Dropout, noise shape": Case(
        **pair("Dropout", noise_shape=STEPS),
        shape=(5, 4),
        stochastic=masked(inverted, STEPS),
    ),
    "ClassicDropout": Case(
        layers.ClassicDropout,
        (5, 4),
        masked(classic),
        scaled,
        classic_variance,
    ),
    "MCDropout": Case(
        functools.partial(layers.MCDropout, stochastic_inference=False),
        (5, 4),
        masked(inverted),
    ),
    "ScheduledDropout": Case(
        scheduled,
        (5, 4),
        masked(inverted),
        opt_outs={"setting": "its rate is a schedule, always"},
    ),
    "SpatialDropout1D": Case(
        **pair("SpatialDropout1D"),
        shape=(5, 4),
        stochastic=masked(inverted, STEPS),
    ),
    "SpatialDropout1D, channels first": Case(
        functools.partial(layers.SpatialDropout1D, **FIRST),
        (4, 5),
        masked(inverted, (None, None, 1)),
    ),
    "SpatialDropout2D": Case(
        **pair("SpatialDropout2D", **LAST),
        shape=(3, 2, 4),
        stochastic=masked(inverted, IMAGE),
    ),
    "SpatialDropout2D, channels first": Case(
        **pair("SpatialDropout2D", **FIRST),
        shape=(4, 3, 2),
        stochastic=masked(inverted, IMAGE_FIRST),
    ),
    "SpatialDropout3D": Case(
        **pair("SpatialDropout3D", **LAST),
        shape=(2, 3, 2, 3),
        stochastic=masked(inverted, VOLUME),
    ),
    "SpatialDropout3D, channels first": Case(
        **pair("SpatialDropout3D", **FIRST),
        shape=(3, 2, 3, 2),
        stochastic=masked(inverted, VOLUME_FIRST),
    ),
    "LockedDropout": Case(
        layers.LockedDropout, (5, 4), masked(inverted, STEPS)
    ),
    "LockedDropout, images": Case(
        layers.LockedDropout,
        (3, 2, 2, 2),
        masked(inverted, (None, 1, None, None, None)),
    ),
    "AlphaDropout": Case(
        **pair("AlphaDropout"), shape=(5, 4), stochastic=masked(alpha), **ALPHA
    ),
    "AlphaDropout, noise shape": Case(
        **pair("AlphaDropout", noise_shape=STEPS),
        shape=(5, 4),
        stochastic=masked(alpha, STEPS),
        **ALPHA,
    ),
    "FeatureAlphaDropout": Case(
        functools.partial(layers.FeatureAlphaDropout, **LAST),
        (3, 2, 4),
        masked(alpha, IMAGE),
        **ALPHA,
    ),
    "FeatureAlphaDropout, channels first": Case(
        functools.partial(layers.FeatureAlphaDropout, **FIRST),
        (4, 3, 2),
        masked(alpha, IMAGE_FIRST),
        **ALPHA,
    ),
    "GaussianDropout": Case(
        **pair("GaussianDropout"),
        shape=(5, 4),
        stochastic=gaussian,
        opt_outs={"rate one": "its variance is infinite: refused, see below"},
    ),
    "ConcreteDropout": Case(
        functools.partial(wrapping, layers.ConcreteDropout),
        (5, 4),
        concrete(),
        **LEARNED,
    ),
    "ConcreteDropout, channels": Case(
        functools.partial(
            wrapping, layers.ConcreteDropout, granularity="channel"
        ),
        (5, 4),
        concrete(STEPS),
        **LEARNED,
    ),
    "DropConnect": Case(
        functools.partial(wrapping, layers.DropConnect),
        (5, 4),
        connections,
        opt_outs={"unknown sizes": "a kernel has one: test_drop_connect.py"},
    ),
    "EmbeddingDropout": Case(
        embedded,
        (5, 4),
        masked(inverted, (None, None, 1)),
        opt_outs={"integers": "they are what it is for: test_embedding.py"},
    ),
    "LoRAInputDropout": Case(
        adapted,
        (5, 4),
        around(masked(inverted)),
        lambda x, rate: x + x,
        opt_outs={
            "rate one": "the way beside the adapter stays: test_lora.py",
            "unknown sizes": "a kernel has one",
            FILES: "Keras merges adapters: test_lora.py",
        },
    ),
    "DropPath": Case(layers.DropPath, (5, 4), masked(inverted, ROW)),
    "DropPath, classic": Case(
        functools.partial(layers.DropPath, scaling="classic"),
        (5, 4),
        masked(classic, ROW),
        scaled,
        classic_variance,
    ),
    "StochasticDepth": Case(
        deep,
        (5, 4),
        around(masked(classic, ROW)),
        around(scaled),
        classic_variance,
        opt_outs={"rate one": "its inputs stay: test_stochastic_depth.py"},
    ),
    "StochasticDepth, inverted": Case(
        functools.partial(deep, scaling="inverted"),
        (5, 4),
        around(masked(inverted, ROW)),
        around(identity),
        opt_outs={"rate one": "its inputs stay: test_stochastic_depth.py"},
    ),
    "DropoutRNN": Case(
        steady,
        (5, 4),
        masked(inverted, STEPS),
        seed_inside=lambda seed: masks.derived_seed(seed, 0),
        opt_outs={
            "unknown sizes": "a kernel has one",
            NO_RATE: "there is no such dropout then: test_recurrent.py",
        },
    ),
    **{
        name: Case(
            thinned(RECURRENT, name),
            (3, 4),
            masked(inverted, STEPS),
            stock=thinned(vars(stock), name),
            **(OF_LSTM if name == "LSTM" else OF_RECURRENT),
        )
        for name in ("LSTM", "GRU", "SimpleRNN")
    },
    "RNN, a cell": Case(
        live_cell, (3, 4), masked(inverted, STEPS), **OF_RECURRENT
    ),
    **{
        # What takes long is done with the first alone.
        f"ConvLSTM{rank}D" + ", more axes" * (rank > 1): Case(
            thinned(RECURRENT, f"ConvLSTM{rank}D", 1),
            (2, 2, *(1,) * (rank - 1), 4),
            by_gate,
            stock=thinned(vars(stock), f"ConvLSTM{rank}D", 1),
            **OF_CONVOLUTION,
        )
        for rank in (1, 2, 3)
    },
    "MultiHeadAttention": Case(
        functools.partial(attention, SelfAttention, (1, 4)),
        **ATTENTION,
        opt_outs=OF_ATTENTION,
    ),
    "MultiHeadAttention, logits": Case(
        functools.partial(attention, SelfAttention, (1, 4), drop="logits"),
        **{**ATTENTION, "stochastic": attended_keys},
        opt_outs={
            **OF_ATTENTION,
            "rate one": "nothing is dropped then: test_attention.py",
            "expectation": "of weights that add up to 1: test_attention.py",
        },
    ),
    "GroupQueryAttention": Case(
        functools.partial(attention, GroupedSelfAttention, (4, 1, 1)),
        **ATTENTION,
        opt_outs={**OF_ATTENTION, "padding mask": "that of Keras has none"},
    ),
    "DropBlock1D": Case(
        functools.partial(layers.DropBlock1D, block_size=3, **LAST),
        (7, 2),
        blocks((3,), 1),
        **BLOCK,
    ),
    "DropBlock1D, channels first": Case(
        functools.partial(layers.DropBlock1D, block_size=3, **FIRST),
        (2, 7),
        blocks((3,), 2),
        **BLOCK,
    ),
    "DropBlock2D": Case(
        functools.partial(layers.DropBlock2D, block_size=(2, 3), **LAST),
        (4, 6, 2),
        blocks((2, 3), 1),
        **BLOCK,
    ),
    "DropBlock2D, channels first": Case(
        functools.partial(layers.DropBlock2D, block_size=(2, 3), **FIRST),
        (2, 4, 6),
        blocks((2, 3), 2),
        **BLOCK,
    ),
    "DropBlock3D": Case(
        functools.partial(layers.DropBlock3D, block_size=2, **LAST),
        (2, 3, 4, 2),
        blocks((2, 2, 2), 1),
        **BLOCK,
    ),
    "DropBlock3D, channels first": Case(
        functools.partial(layers.DropBlock3D, block_size=2, **FIRST),
        (2, 2, 3, 4),
        blocks((2, 2, 2), 2),
        **BLOCK,
    ),
}


TOPICS = {NO_RATE, FILES}  # of all tests of this file


def cases(topic=None, condition=lambda case: True, names=CASES):
    """The names of the cases to run; opted out are skipped, with the reason."""
    TOPICS.add(topic)
    chosen = []
    for name in names:
        case = CASES[name]
        if condition(case):
            reason = case.opt_outs.get(topic)
            marks = pytest.mark.skip(reason=reason) if reason else ()
            chosen.append(pytest.param(name, marks=marks, id=name))
    return pytest.mark.parametrize("name", chosen)


# What takes long is done once for each layer, not in each of its settings.
LAYERS = [name for name in CASES if "," not in name]
with_stock = functools.partial(cases, condition=lambda case: case.stock)


def numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def inputs_of(name, rows=6):
    """Values between 1 and 2: none is 0."""
    shape = (rows, *CASES[name].shape)
    return np.random.default_rng(0).uniform(1, 2, shape).astype("float32")


def model_of(layer, name):
    return keras.Sequential([keras.Input(CASES[name].shape), layer])


def assert_close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_every_public_layer_has_its_line():
    public = {getattr(layers, name): name for name in layers.__all__}
    made = {
        next(
            public[cls] for cls in type(case.make(0.5)).__mro__ if cls in public
        )
        for case in CASES.values()
    }
    assert made == set(layers.__all__)


def test_each_topic_that_is_opted_out_of_is_one_of_a_test():
    opted_out = {topic for case in CASES.values() for topic in case.opt_outs}
    assert opted_out <= TOPICS


# Values.


@cases()
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_outputs_are_those_of_the_formula_under_the_known_words(name, rate):
    case, x = CASES[name], inputs_of(name)
    layer = case.make(rate, seed=2024)
    for index in range(2):
        seed = case.seed_inside(2024)
        words = functools.partial(known_masks.words, seed, index)
        expected = case.stochastic(x.astype("float64"), words, rate)
        assert_close(numpy(layer(x, training=True)), expected)


@cases()
def test_without_training_nothing_is_drawn(name):
    case, x = CASES[name], inputs_of(name)
    layer = case.make(0.3)
    assert_close(numpy(layer(x)), case.inference(x, 0.3))
    assert_close(numpy(layer(x, training=False)), case.inference(x, 0.3))


@cases()
def test_stochastic_inference_draws_anew_each_time(name):
    x = inputs_of(name)
    layer = CASES[name].make(0.5, seed=0, stochastic_inference=True)
    first, second = numpy(layer(x)), numpy(layer(x))
    assert (first != second).any()
    assert layer.step == 0


@cases("rate zero")
def test_nothing_is_drawn_at_rate_zero(name):
    x = inputs_of(name)
    outputs = CASES[name].make(0.0)(x, training=True)
    np.testing.assert_array_equal(numpy(outputs), CASES[name].inference(x, 0.0))


@cases("rate one")
def test_rate_one_gives_zeros(name):
    x = inputs_of(name)
    outputs = CASES[name].make(1.0)(x, training=True)
    np.testing.assert_array_equal(numpy(outputs), np.zeros_like(x))


@cases()
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_gradients_are_finite(name, rate):
    topic = {0.0: "rate zero", 1.0: "rate one"}.get(rate)
    if topic in CASES[name].opt_outs:
        pytest.skip(CASES[name].opt_outs[topic])
    case, x = CASES[name], inputs_of(name)
    gradient = traced.gradient(case.make(rate, seed=0), x)
    assert np.isfinite(gradient).all()
    if rate == 0.0:
        expected = case.inference(np.ones_like(x), 0.0)
        np.testing.assert_array_equal(gradient, expected)


def test_gaussian_dropout_refuses_a_rate_of_one():
    message = "must be below 1.*use `kerasdrop.layers.Dropout`. Received: ra"
    with pytest.raises(ValueError, match=message):
        layers.GaussianDropout(1.0)
    layer = layers.GaussianDropout(0.5)
    with pytest.raises(ValueError, match=message):
        layer.rate = 1
    assert layer.rate == 0.5


# Distributions. Rows are independent; all are alike.

ROWS = 4000


# At .5, for single units, or the root of that, for products, the variance of a
# sample of two values has no error of first order, and 5 sigma would be 0.
RATE = 0.4


@functools.cache
def samples(name):
    x = np.repeat(inputs_of(name, rows=1), ROWS, axis=0)
    return x, numpy(CASES[name].make(RATE, seed=1)(x, training=True))


@cases("expectation")
def test_the_expectation_is_what_inference_gives(name):
    x, y = samples(name)
    expected = CASES[name].inference(x[0], RATE)
    error = y.std(axis=0, ddof=1) / np.sqrt(ROWS)
    assert (np.abs(y.mean(axis=0) - expected) <= 5 * error).all()


@cases(condition=lambda case: case.variance)
def test_the_variance_is_the_one_that_is_claimed(name):
    x, y = samples(name)
    factors = (y / x).astype("float64")
    variance = factors.var(axis=0, ddof=1)
    fourth = ((factors - factors.mean(axis=0)) ** 4).mean(axis=0)
    error = np.sqrt((fourth - variance**2) / ROWS)
    expected = CASES[name].variance(RATE)
    assert (np.abs(variance - expected) <= 5 * error).all()


@with_stock()
def test_the_distribution_is_that_of_the_stock_layer(name):
    x, ours = samples(name)
    theirs = numpy(CASES[name].stock(RATE, seed=1)(x, training=True))
    ours, theirs = (y.reshape(ROWS, -1) for y in (ours, theirs))
    helpers.assert_same_moments(ours, theirs)
    # Which units fall together: products with the first.
    helpers.assert_same_moments(ours * ours[:, :1], theirs * theirs[:, :1])


# Rates.


@cases("setting")
def test_a_rate_is_live_in_a_compiled_function_without_a_retrace(name):
    case, x = CASES[name], inputs_of(name)
    compiled, eager = (case.make(0.5, seed=3) for _ in range(2))
    call = traced.Training(compiled, x)
    for rate in (0.5, 0.0, 0.25, 0.9):
        compiled.rate = eager.rate = rate
        assert_close(numpy(call(x)), numpy(eager(x, training=True)))
    assert call.num_traces == 1


@cases("schedule")
def test_a_schedule_moves_the_rate_in_a_compiled_function(name):
    case, x = CASES[name], inputs_of(name)
    ramp = schedules.Linear(0.0, 0.5, num_steps=2)
    arguments = {"seed": 3}
    compiled = (
        layers.ScheduledDropout(ramp, **arguments)
        if case.make is scheduled
        else case.make(ramp, **arguments)
    )
    call = traced.Training(compiled, x)
    for step, rate in enumerate((0.0, 0.25, 0.5, 0.5)):
        assert compiled.rate == rate
        words = functools.partial(known_masks.words, case.seed_inside(3), step)
        expected = case.stochastic(x.astype("float64"), words, rate)
        assert_close(numpy(call(x)), expected)
    assert call.num_traces == 1


@cases()
@pytest.mark.parametrize("rate", [-0.1, 1.1, np.nan, "0.5", None])
def test_an_illegal_rate_is_refused(name, rate):
    if rate is None and NO_RATE in CASES[name].opt_outs:
        pytest.skip(CASES[name].opt_outs[NO_RATE])
    told = r"argument `(rate|(recurrent_)?dropout)` .*\[0, 1\]"
    with pytest.raises(ValueError, match=told):
        CASES[name].make(rate)


@cases("setting")
def test_an_illegal_rate_that_slips_in_gives_nan(name):
    layer = CASES[name].make(0.5)
    layer._state.rate.state.assign(1.5)
    assert np.isnan(numpy(layer(inputs_of(name), training=True))).any()


# Configurations and files.


@cases()
def test_a_config_comes_back_through_json(name):
    layer = CASES[name].make(0.3, seed=4, name="a", stochastic_inference=True)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()


@with_stock()
def test_a_stock_config_makes_our_layer(name):
    config = CASES[name].stock(0.3, seed=4, name="a").get_config()
    ours = type(CASES[name].make(0.5)).from_config(config)
    assert {key: ours.get_config()[key] for key in config} | {
        "dtype": config["dtype"]
    } == config


@with_stock()
def test_the_layer_is_one_of_the_stock_class(name):
    ours, theirs = CASES[name].make(0.5), CASES[name].stock(0.5)
    assert isinstance(ours, type(theirs))


@with_stock()
def test_positional_arguments_are_those_of_the_stock_layer(name):
    ours, theirs = CASES[name].make(0.5), CASES[name].stock(0.5)
    names = []
    for layer in (ours, theirs):
        arguments = inspect.signature(type(layer)).parameters.values()
        names.append(
            [one.name for one in arguments if one.kind != one.VAR_KEYWORD]
        )
    assert names[1]
    assert names[0][: len(names[1])] == names[1]


@cases("setting")
@pytest.mark.parametrize("file", ["model.keras", "model.weights.h5"])
def test_a_file_brings_back_the_rate_and_the_step(name, file, tmp_path):
    case, x = CASES[name], inputs_of(name)
    if FILES in case.opt_outs:
        pytest.skip(case.opt_outs[FILES])
    model = model_of(case.make(0.5, name="layer"), name)
    layer = model.get_layer("layer")
    layer(x, training=True)
    layer.rate = 0.3
    if file == "model.keras":
        model.save(tmp_path / file)
        again = keras.models.load_model(tmp_path / file)
    else:
        model.save_weights(tmp_path / file)
        again = model_of(case.make(0.5, name="layer"), name)
        again.load_weights(tmp_path / file)
    loaded = again.get_layer("layer")
    assert (loaded.rate, loaded.step) == (0.3, 1)
    np.testing.assert_array_equal(
        numpy(loaded(x, training=True)), numpy(layer(x, training=True))
    )


@with_stock()
def test_weights_go_from_the_stock_layer_to_ours_and_back(name, tmp_path):
    path = tmp_path / "model.weights.h5"

    def model(make):
        return keras.Sequential(
            [
                keras.Input(CASES[name].shape),
                stock.Dense(CASES[name].shape[-1], name="before"),
                make(0.5, name="layer"),
                stock.Dense(1, name="behind"),
            ]
        )

    x = inputs_of(name)
    ours, theirs, third = map(
        model, (CASES[name].make, CASES[name].stock, CASES[name].stock)
    )
    theirs.save_weights(path)
    ours.load_weights(path)
    np.testing.assert_array_equal(numpy(ours(x)), numpy(theirs(x)))
    ours.save_weights(path)
    third.load_weights(path)
    np.testing.assert_array_equal(numpy(third(x)), numpy(theirs(x)))


# Shapes, dtypes, masks.


@cases()
def test_a_symbolic_call_has_the_shape_of_an_eager_one(name):
    case, x = CASES[name], inputs_of(name)
    symbolic = case.make(0.5)(keras.Input(case.shape), training=True)
    assert symbolic.shape == (None, *case.shape)
    assert case.make(0.5)(x, training=True).shape == x.shape


@cases("unknown sizes")
def test_sizes_may_be_unknown_when_it_is_traced(name):
    case, x = CASES[name], inputs_of(name)
    unknown = (None,) * len(case.shape)
    symbolic = case.make(0.5)(keras.Input(unknown), training=True)
    assert symbolic.shape == (None, *unknown)
    call = traced.Training(case.make(0.5, seed=3), x, unknown_sizes=True)
    expected = case.make(0.5, seed=3)(x, training=True)
    assert_close(numpy(call(x)), numpy(expected))


@cases("no rows")
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_may_be_empty(name, training):
    x = inputs_of(name, rows=0)
    outputs = CASES[name].make(0.5)(x, training=training)
    assert outputs.shape == x.shape


@cases()
def test_a_row_does_not_depend_on_the_others(name):
    x = inputs_of(name)
    whole, part = (
        numpy(CASES[name].make(0.5, seed=0)(rows, training=True))
        for rows in (x, x[:2])
    )
    assert_close(part, whole[:2])


POLICIES = ["float16", "mixed_bfloat16"]
if BACKEND != "jax":  # it has float64 only by its own option
    POLICIES.append("float64")


@cases()
@pytest.mark.parametrize("policy", POLICIES)
def test_only_the_outputs_are_rounded_to_the_compute_dtype(name, policy):
    case, x = CASES[name], inputs_of(name)
    layer = case.make(0.3, seed=0, dtype=policy)
    y = layer(x, training=True)
    dtype = keras.backend.standardize_dtype(y.dtype)
    assert dtype == layer.compute_dtype
    assert {str(v.dtype) for v in layer._state.variables} <= {
        "float32",
        "int32",
    }
    expected = numpy(case.make(0.3, seed=0)(x, training=True))
    # A few roundings, to 8, 11 or 53 bits; alpha dropout adds numbers of 3.
    error = {"bfloat16": 2.0**-8, "float16": 2.0**-11}.get(dtype, 2e-7)
    np.testing.assert_allclose(
        numpy(y), expected, rtol=4 * error, atol=8 * error
    )


@cases("integers")
def test_integers_are_refused(name):
    inputs = ops.ones((2, *CASES[name].shape), "int32")
    with pytest.raises(ValueError, match="Cast them"):
        CASES[name].make(0.5)(inputs)


class MaskRecorder(keras.layers.Layer):
    """Keeps the padding mask that arrives with the inputs."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, inputs, mask=None):
        self.mask = mask
        return inputs


@cases("padding mask")
@pytest.mark.parametrize("training", [True, False])
def test_a_padding_mask_is_passed_on(name, training):
    x = inputs_of(name)
    x[1, 1] = 0.0
    recorder = MaskRecorder()
    layer = CASES[name].make(0.5)
    recorder(layer(stock.Masking()(x), training=training))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(recorder.mask), (x != 0.0).any(axis=-1)
    )


# Models.


@cases(names=LAYERS)
def test_a_model_with_it_trains_compiled(name):
    layer = CASES[name].make(0.5)
    model = keras.Sequential(
        [
            keras.Input(CASES[name].shape),
            layer,
            stock.Flatten(),
            stock.Dense(1),
        ]
    )
    # PyTorch's compiler takes half a minute: see test_torch_compile.py.
    model.compile("sgd", "mse", jit_compile=BACKEND != "torch")
    history = model.fit(
        inputs_of(name), np.zeros((6, 1)), batch_size=2, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()
    assert layer.step == 3


def samples_of(make, name, plan):
    """`(rows, 16, ...)`; drawn eagerly, which is faster here."""
    x = inputs_of(name, rows=5)
    x[4] = x[0]
    model = model_of(make(0.5), name)
    predictive = kerasdrop.MonteCarlo(
        model,
        16,
        seed=0,
        plan=plan,
        kind="regression",
        keep_samples=True,
        # Where operations are compiled, once for each layer.
        verify=BACKEND == "torch" or plan == "stratified",
    )
    return numpy(predictive(x)["samples"])


@cases(names=LAYERS)
@pytest.mark.parametrize("plan", plans.PLANS)
def test_a_monte_carlo_pass_draws_it(name, plan):
    samples = samples_of(CASES[name].make, name, plan)
    assert (samples.std(axis=1).reshape(5, -1).max(axis=-1) > 0.0).all()
    same = np.array_equal(samples[4], samples[0])
    assert same == (plan == "shared")  # of equal rows


@with_stock("stock draws", names=LAYERS)
def test_a_monte_carlo_pass_draws_what_the_stock_layer_draws(name):
    ours, theirs = (
        samples_of(make, name, "stratified")
        for make in (CASES[name].make, CASES[name].stock)
    )
    assert_close(ours, theirs)
