"""Rates that the code of a user reads in Python, when a call gives others."""

import keras
import numpy as np
import pytest
from keras import layers as stock

import kerasdrop
from kerasdrop import layers


class Scaled(stock.Dropout):
    """Multiplies by a number that it reads from itself."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=training) * (1 - self.rate)


class ScaledOutside(stock.Layer):
    """The same, read from the layer that it holds."""

    def __init__(self, drop, **kwargs):
        super().__init__(**kwargs)
        self.drop = drop

    def call(self, inputs, training=None):
        return self.drop(inputs, training=training) * (1 - self.drop.rate)


class ScaledByAMethod(ScaledOutside):
    """The same, in a method that its `call` calls."""

    def scale(self):
        return 1 - self.drop.rate

    def call(self, inputs, training=None):
        return self.drop(inputs, training=training) * self.scale()


class Guarded(ScaledOutside):
    """Reads it only to know whether to call the layer."""

    def call(self, inputs, training=None):
        if self.drop.rate > 0:
            inputs = self.drop(inputs, training=training)
        if self.drop.rate:
            inputs = inputs + 0.0
        return inputs


class TestRatesReadInPython:
    @pytest.mark.parametrize(
        "layer",
        [
            Scaled(0.4, name="scaled"),
            ScaledOutside(stock.Dropout(0.4), name="scaled"),
            ScaledByAMethod(stock.Dropout(0.4), name="scaled"),
        ],
        ids=["in_itself", "outside", "in_a_method"],
    )
    def test_are_refused_where_the_number_is_computed_with(self, layer):
        x = keras.Input((4,))
        model = keras.Model(x, layers.Dropout(0.1, name="free")(layer(x)))
        with pytest.raises(
            ValueError,
            match=r"'scaled.*cannot get a rate.*computes.*layers=\['free'\]",
        ):
            kerasdrop.inspect(model, rate=0.2)
        kerasdrop.inspect(model, rate=0.2, layers="free")
        kerasdrop.inspect(model, layers="scaled")  # at its own

    def test_may_be_asked_whether_they_are_0(self):
        x = keras.Input((4,))
        drop = stock.Dropout(0.4, name="drop")
        model = keras.Model(x, Guarded(drop)(x))
        ones = np.ones((2, 4), "float32")
        result = kerasdrop.mc_predict(
            model, ones, 4096, rate=0.2, kind="regression", seed=0, verbose=0
        )
        # sqrt(p / (1 - p)), to 5 standard errors of a share of 4,096.
        np.testing.assert_allclose(result.std, 0.5, atol=0.03)
