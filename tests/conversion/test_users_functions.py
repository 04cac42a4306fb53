"""A copied layer has the user's function, and not one of the same name."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop

X = np.random.default_rng(0).normal(size=(6, 2, 4)).astype("float32")


def relu(x):
    """Has the name of a function of Keras, and another value."""
    return ops.clip(x, 0.0, 0.1)


def steep(x):
    return ops.where(x > 0.0, 3.0 * x, 0.1 * x)


MAKERS = {
    "dense": lambda f: layers.Dense(4, activation=f),
    "activation": lambda f: layers.Activation(f),
    "recurrent": lambda f: layers.LSTM(4, activation=f, recurrent_activation=f),
}


def model_of(layer, rate=None):
    x = h = keras.Input((2, 4))
    if rate is not None:
        h = layers.Dropout(rate)(h)
    return keras.Model(x, layers.Dense(2)(layer(h)))


@pytest.mark.parametrize("function", [relu, steep])
@pytest.mark.parametrize("name", MAKERS)
def test_insertion(name, function):
    model = model_of(MAKERS[name](function))
    copy, _ = kerasdrop.insert_dropout(model, 0.2)
    np.testing.assert_array_equal(
        copy.predict(X, verbose=0), model.predict(X, verbose=0)
    )


@pytest.mark.parametrize(
    "change", [kerasdrop.convert_dropout, kerasdrop.strip_dropout]
)
def test_conversion(change):
    model = model_of(MAKERS["dense"](relu), rate=0.3)
    copy, _ = change(model)
    np.testing.assert_allclose(
        copy.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6
    )


def test_a_function_that_a_configuration_loses_is_refused():
    model = model_of(layers.TimeDistributed(MAKERS["dense"](relu)))
    with pytest.raises(ValueError, match="does not predict the same"):
        kerasdrop.insert_dropout(model, 0.2)
