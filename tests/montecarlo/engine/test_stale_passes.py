"""What is changed after a first call counts in the next one.

Each change is judged by a fresh model that was made with it: the same seed
must give the same samples.
"""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")


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
            lambda model: model.fit(X, X[..., :2], verbose=0),
            lambda model: model.predict(X, verbose=0),
        ],
    )
