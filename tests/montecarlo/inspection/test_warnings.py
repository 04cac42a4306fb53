"""What a pass leaves out is said: random functions, steps of `predict`."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop

X = np.ones((4, 3), "float32")


class InTraining(layers.Layer):
    """Draws as a user writes it who needs no seed."""

    def call(self, x, training=False):
        return keras.random.dropout(x, 0.5) if training else x


class OfItsOwn(keras.Model):
    def call(self, x, training=False):
        x = super().call(x, training=training)
        return keras.random.dropout(x, 0.5) if training else x


def graph(cls=keras.Model, middle=lambda h: h, **kwargs):
    x = keras.Input((3,))
    h = middle(layers.Dropout(0.5)(x))
    return cls(x, layers.Dense(2)(h), **kwargs)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (lambda: graph(middle=InTraining(name="mine")), "mine"),
        (lambda: graph(OfItsOwn, name="mine"), "mine"),
    ],
)
def test_a_random_function_in_a_call_is_a_warning(model, path):
    model = model()
    words = "'mine' .*by `keras.random.dropout`.*register_stochastic"
    with pytest.warns(UserWarning, match=words):
        kerasdrop.MonteCarlo(model, kind="regression")
    (mine,) = [
        one for one in kerasdrop.inspect(model).layers if one.path == path
    ]
    assert not mine.is_drawn
    assert "register_stochastic" in mine.why


class OwnStep(keras.Model):
    def predict_step(self, *args):
        return super().predict_step(*args)


def test_a_step_of_predict_that_is_not_run_is_a_warning():
    with pytest.warns(UserWarning, match="mc_predict.*`predict_step` of OwnSt"):
        kerasdrop.mc_predict(graph(OwnStep), X, 4, seed=0, verbose=0)
