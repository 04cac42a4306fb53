"""Users' code that calls random functions is found, and no other code."""

import keras
import pytest
from keras import layers
from keras import ops
from keras.random import dropout as drop_units

import kerasdrop
from kerasdrop._adapters import random_functions

BACKEND = keras.backend.backend()


class InTraining(layers.Layer):
    def call(self, x, training=False):
        return keras.random.dropout(x, 0.5) if training else x


class ByAMethod(layers.Layer):
    def call(self, x, training=False):
        return self.noisy(x) if training else x

    def noisy(self, x):
        return drop_units(x, 0.5)


class Inherited(InTraining):
    def call(self, x, training=False):
        return 2.0 * super().call(x, training=training)


def noisy(x):
    add = lambda t: t + keras.random.normal(ops.shape(t))  # noqa: E731
    return add(x)


class ByAFunction(layers.Layer):
    def call(self, x, training=False):
        return noisy(x) if training else x


class InAModel(keras.Model):
    def call(self, x, training=False):
        return keras.random.dropout(x, 0.5) if training else x


if BACKEND == "torch":
    from torch.nn import functional as backend
elif BACKEND == "tensorflow":
    from tensorflow import nn as backend
else:
    from keras import random as backend


class OfTheBackend(layers.Layer):
    def call(self, x, training=False):
        return backend.dropout(x, 0.5) if training else x


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (InTraining, "keras.random.dropout"),
        (ByAMethod, "drop_units"),
        (Inherited, "keras.random.dropout"),
        (ByAFunction, "keras.random.normal"),
        (InAModel, "keras.random.dropout"),
        (OfTheBackend, "backend.dropout"),
    ],
)
def test_it_is_found(cls, name):
    assert random_functions.called_by(cls()) == name


def test_it_is_found_in_a_lambda():
    drops = layers.Lambda(lambda t: keras.random.dropout(t, 0.5))
    assert random_functions.called_by(drops) == "keras.random.dropout"
    doubles = layers.Lambda(lambda t: 2.0 * t)
    assert random_functions.called_by(doubles) is None


class Initialized(layers.Layer):
    def build(self, shape):
        self.start = keras.random.normal((2,), seed=1)

    def call(self, x):
        return ops.where(x > 0.0, x, 0.0)


class TrainedWithNoise(keras.Model):
    def train_step(self, *args):
        noise = keras.random.normal((2,))
        return super().train_step(*args, noise)

    def call(self, x):
        return x


class WithDropout(layers.Layer):
    def __init__(self):
        super().__init__()
        self.dropout = layers.Dropout(0.5)
        self.other = kerasdrop.layers.Dropout(0.5)

    def call(self, x, training=None):
        return self.other(self.dropout(x, training=training))


@pytest.mark.parametrize("cls", [Initialized, TrainedWithNoise, WithDropout])
def test_nothing_is_found(cls):
    assert random_functions.called_by(cls()) is None


def test_layers_of_keras_are_not_read():
    assert random_functions.called_by(layers.GaussianNoise(0.5)) is None
