"""What is changed after a first call counts in the next one.

Each change is judged by a fresh model that was made with it: the same seed
must give the same samples.
"""

import dataclasses
import enum
import types

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
Y = X[..., :2]


traces = []


class Scaled(layers.Layer):
    """Reads attributes of many sorts."""

    def __init__(self, **attributes):
        super().__init__()
        self.dropout = layers.Dropout(0.5)
        self._private = 1.0
        self.table = {"a": [1.0, 2.0]}
        self.array = np.ones(4, "float32")
        self.function = ops.tanh
        self.parts = [lambda x: x]
        for name, value in attributes.items():
            setattr(self, name, value)

    def call(self, inputs):
        traces.append(inputs.shape)
        x = self.function(self.dropout(inputs)) * self._private
        for part in self.parts:
            x = part(x)
        return x * self.table["a"][1] * ops.convert_to_tensor(self.array)


def sequential(*stack):
    return keras.Sequential([keras.Input(X.shape[1:]), *stack])


def mc(model, **kwargs):
    settings = {"seed": 0, "kind": "regression", "verbose": 0, **kwargs}
    return kerasdrop.mc_predict(
        model, X, 16, keep_samples=True, **settings
    ).samples


def set_(name, value, of=lambda model: model.layers[0]):
    return lambda model: setattr(of(model), name, value)


def cell(model):
    return model.layers[0].cell


def double(x):
    return 2.0 * x


def in_place(model):
    model.layers[0].array[2] = 3.0


def in_a_table(model):
    model.layers[0].table["a"][1] = 5.0


CHANGES = {
    "a rate": (lambda: layers.Dropout(0.5), set_("rate", 0.2)),
    "a noise shape": (
        lambda: layers.Dropout(0.5),
        set_("noise_shape", (None, 1, None)),
    ),
    "a deviation": (lambda: layers.GaussianNoise(0.5), set_("stddev", 0.1)),
    "the smaller rate of a cell": (
        lambda: layers.LSTM(3, dropout=0.5, recurrent_dropout=0.3),
        set_("recurrent_dropout", 0.1, cell),
    ),
    "an activation in a cell": (
        lambda: layers.SimpleRNN(3, dropout=0.5),
        set_("activation", ops.sin, cell),
    ),
    "the direction": (
        lambda: layers.SimpleRNN(3, dropout=0.5),
        set_("go_backwards", True),
    ),
    "a private number": (Scaled, set_("_private", 3.0)),
    "a function": (Scaled, set_("function", double)),
    "a function in a list": (Scaled, set_("parts", [double])),
    "an array": (Scaled, in_place),
    "a number in a table": (Scaled, in_a_table),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_counts(name):
    make, change = CHANGES[name]
    model, fresh = (sequential(make()) for _ in range(2))
    fresh.set_weights(model.get_weights())
    before = mc(model)
    change(model)
    change(fresh)
    expected = mc(fresh)
    assert not np.array_equal(expected, before)
    np.testing.assert_array_equal(mc(model), expected)


class Mode(enum.Enum):
    ONE = 1.0
    TWO = 2.0


@dataclasses.dataclass
class Config:
    factor: float


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor


class Reading(layers.Layer):
    """Multiplies by what a function reads off its attribute."""

    _shared = 1.0

    def __init__(self, read, value):
        super().__init__()
        self.read, self.value = read, value

    def call(self, inputs):
        return inputs * self.factor()

    def factor(self):
        return self.read(self.value)


def of_factor(value):
    return value.factor


def first(value):
    return next(iter(value))


def tensor(value):
    return ops.convert_to_tensor(value, "float32")


def array(value):
    return np.full((300, 300), value, "float32")


# Function that reads a factor off an attribute, and the values of that.
ATTRIBUTES = {
    "a number of NumPy": (float, np.float32(1.0), np.float32(2.0)),
    "such a number in a dict": (
        lambda value: value["a"],
        {"a": np.float32(1.0)},
        {"a": np.float32(2.0)},
    ),
    "a member of an enumeration": (
        lambda value: value.value,
        Mode.ONE,
        Mode.TWO,
    ),
    "a dataclass": (of_factor, Config(1.0), Config(2.0)),
    "a namespace": (
        of_factor,
        types.SimpleNamespace(factor=1.0),
        types.SimpleNamespace(factor=2.0),
    ),
    "an object with slots": (of_factor, Slotted(1.0), Slotted(2.0)),
    "a set": (first, {1.0}, {2.0}),
    "a range": (len, range(1), range(2)),
    "a slice": (lambda value: value.stop, slice(1), slice(2)),
    "a tensor": (lambda value: value, tensor(1.0), tensor(2.0)),
    "a tensor in a list": (first, [tensor(1.0)], [tensor(2.0)]),
    "deep lists": (
        lambda value: value[0][0][0][0],
        [[[[1.0]]]],
        [[[[2.0]]]],
    ),
    "a policy": (
        lambda value: len(value.name) * 0.1,
        keras.DTypePolicy("float32"),
        keras.DTypePolicy("mixed_float16"),
    ),
    "a dtype": (lambda value: value.itemsize, np.dtype("i1"), np.dtype("i2")),
}


def alone(model, **kwargs):
    # Two samples: nothing is asked of these but whether they change.
    return kerasdrop.mc_predict(
        model, X, 2, plan="independent", seed=0, kind="regression", **kwargs
    ).mean


def check_counts(make, change):
    model, fresh = make(), make()
    settings = {"verbose": 0, "verify": False}
    before = alone(model, **settings)
    change(model)
    change(fresh)
    expected = alone(fresh, **settings)
    assert not np.array_equal(expected, before)
    np.testing.assert_array_equal(alone(model, **settings), expected)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_of_any_sort_counts(name):
    read, before, after = ATTRIBUTES[name]

    def make():
        return sequential(layers.Dropout(0.5), Reading(read, before))

    check_counts(make, lambda model: setattr(model.layers[1], "value", after))


def test_what_is_changed_in_place_counts():
    def make():
        value = {"config": Config(1.0), "array": array(1.0)}
        return sequential(
            layers.Dropout(0.5),
            Reading(
                lambda value: value["config"].factor * value["array"][-1, -1],
                value,
            ),
        )

    def change(model):
        model.layers[1].value["config"].factor = 2.0

    def fill(model):
        model.layers[1].value["array"].fill(3.0)

    check_counts(make, change)
    check_counts(make, fill)


def test_a_method_of_a_class_counts(monkeypatch):
    class Mine(Reading):
        pass

    model = sequential(layers.Dropout(0.5), Mine(float, 1.0))
    before = alone(model, verbose=0)
    for name, value in {
        "factor": lambda self: 3.0,
        "call": lambda self, inputs: inputs * 3.0,
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(Mine, name, value)
            np.testing.assert_allclose(
                alone(model, verbose=0), 3.0 * before, rtol=1e-6
            )
        np.testing.assert_array_equal(alone(model, verbose=0), before)


def test_an_attribute_of_a_class_counts(monkeypatch):
    class Mine(Reading):
        def factor(self):
            return self._shared

    model = sequential(layers.Dropout(0.5), Mine(float, 1.0))
    before = alone(model, verbose=0)
    monkeypatch.setattr(Mine, "_shared", 3.0)
    np.testing.assert_allclose(alone(model, verbose=0), 3.0 * before, rtol=1e-6)


def test_data_to_which_a_layer_is_adapted_again_count():
    data = X.reshape(-1, X.shape[-1])
    norm = layers.Normalization()
    norm.adapt(data)
    model = sequential(norm, layers.Dropout(1e-9))
    alone(model, verbose=0)
    norm.adapt(3.0 * data + 1.0)
    np.testing.assert_allclose(
        alone(model, verbose=0), model(X), rtol=1e-5, atol=1e-6
    )


def test_a_function_that_is_registered_again_counts():
    class Mine(layers.Layer):
        rate = 1.0

    def draws(value):
        return lambda layer, draw, inputs: inputs * 0.0 + value

    model = sequential(Mine())
    for value in (1.0, 2.0):
        kerasdrop.register_stochastic(Mine, draws(value))
        # It is not what the layer makes at inference.
        assert (mc(model, verify=False) == value).all()


class Counting(Scaled):
    """Counts its calls and keeps what it saw."""

    calls = 0

    def call(self, inputs):
        self.calls += 1
        self.seen = inputs
        return super().call(inputs)


traced = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch traces nothing"
)


@traced
def test_nothing_is_traced_again_behind_a_call_with_other_settings():
    model = sequential(Scaled(), layers.Dense(2))
    plans = ("independent", "shared")
    for plan in plans:
        mc(model, plan=plan)
    before = len(traces)
    for plan in plans:
        mc(model, plan=plan)
    assert len(traces) == before


@traced
def test_nothing_is_traced_again_without_a_change():
    def unchanged(model):
        return None

    def count(make, changes):
        model = sequential(
            make(), layers.Dense(2), kerasdrop.layers.Dropout(0.1)
        )
        mc(model)
        for change in changes:
            change(model)
            before = len(traces)
            mc(model)
            assert len(traces) == before

    count(Counting, [unchanged])
    count(
        Scaled,
        [
            lambda model: setattr(model.layers[-1], "rate", 0.3),  # it is live
            lambda model: model.compile("sgd", "mse"),
            lambda model: model.fit(X, Y, verbose=0, validation_data=(X, Y)),
            lambda model: model.train_on_batch(X, Y),
            lambda model: model.evaluate(X, Y, verbose=0),
            lambda model: model.test_on_batch(X, Y),
            lambda model: model.predict(X, verbose=0),
            lambda model: model.predict_on_batch(X),
            lambda model: model.set_weights(model.get_weights()),
        ],
    )
