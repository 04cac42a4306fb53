"""The self-check and code that Keras only calls, such as an activation."""

import types

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop

BACKEND = keras.backend.backend()
X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


def predicted(model, x=X, **settings):
    return kerasdrop.mc_predict(
        model, x, 16, seed=0, kind="regression", verbose=0, **settings
    )


def behind_dropout(layer):
    x = keras.Input((4,))
    return keras.Model(x, layer(layers.Dropout(0.5)(x)))


def over_largest(t):
    return t / ops.max(ops.abs(t))


def module():
    import torch

    class OverLargest(torch.nn.Module):
        def forward(self, t):
            return over_largest(t)

    return layers.TorchModuleWrapper(OverLargest(), output_shape=(None, 4))


MIXING = {
    "dense": lambda: layers.Dense(4, activation=over_largest),
    "activation": lambda: layers.Activation(over_largest),
    "recurrent": lambda: keras.Sequential(
        [
            layers.Reshape((2, 2)),
            layers.SimpleRNN(2, activation=over_largest),
        ]
    ),
}
if BACKEND == "torch":
    MIXING["module"] = module
if BACKEND == "jax":
    MIXING["function"] = lambda: layers.JaxLayer(
        lambda params, inputs: over_largest(inputs), params={}
    )


# The check runs some of the rows again, without the last or the first ones.
@pytest.mark.parametrize("place", [0, 5])
@pytest.mark.parametrize("name", MIXING)
# In Keras 3.12, a `JaxLayer` has a generator whatever its function does.
@pytest.mark.filterwarnings("ignore:.*random numbers of their own")
def test_a_function_in_which_rows_see_each_other(name, place):
    x = X.copy()
    x[place] *= 9.0
    with pytest.raises(kerasdrop.VerificationError, match="on the other rows"):
        predicted(behind_dropout(MIXING[name]()), x)


def in_a_closure():
    drop = layers.Dropout(0.5)
    return layers.Lambda(lambda t: drop(t), name="caller")


def of_a_block():
    block = keras.Sequential([layers.Dense(4), layers.LSTM(4, dropout=0.5)])
    return layers.Lambda(lambda t: block(t[:, None]), name="caller")


class MakesItInACall(layers.Layer):
    def call(self, inputs, training=None):
        return layers.Dropout(0.5)(inputs, training=training)


# TensorFlow makes no variables in a function's second trace, in `predict` too.
MAKES_IT = pytest.param(
    lambda: MakesItInACall(name="caller"),
    marks=pytest.mark.skipif(BACKEND == "tensorflow", reason="an error there"),
)


class HidesIt(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = types.SimpleNamespace(drop=kerasdrop.layers.Dropout(0.5))

    def call(self, inputs, training=None):
        return self.parts.drop(inputs, training=training)


@pytest.mark.parametrize(
    "make",
    [
        in_a_closure,
        of_a_block,
        MAKES_IT,
        lambda: HidesIt(name="caller"),
    ],
)
def test_dropout_that_is_no_layer_of_the_model_is_refused(make):
    model = behind_dropout(make())
    words = "layer 'caller' .* draws in training, but is none"
    for _ in range(2):
        with pytest.raises(kerasdrop.VerificationError, match=words):
            predicted(model)


def test_selected_layers_may_draw_beside_it():
    model = behind_dropout(in_a_closure())
    selected = predicted(model, layers=model.layers[1])
    assert selected.variance.max() > 0.0


def test_dropout_at_rate_zero_may_be_anywhere():
    drop = layers.Dropout(0.0)
    model = behind_dropout(layers.Lambda(lambda t: drop(t)))
    assert predicted(model).variance.max() > 0.0


class Returns(keras.Model):
    def __init__(self, outputs):
        super().__init__()
        self.drop = layers.Dropout(0.5)
        self.outputs_of = outputs

    def call(self, inputs, training=None):
        return self.outputs_of(self.drop(inputs, training=training))


@pytest.mark.parametrize(
    ("outputs", "received"),
    [
        (lambda t: {"a": t, "scores": None}, "output 'scores' of type None"),
        (lambda t: [t, 1.0], "output 1 of type float"),
    ],
)
@pytest.mark.parametrize("vectorized", [True, False])
def test_outputs_that_are_no_tensors_are_refused(outputs, received, vectorized):
    model = Returns(outputs)
    model(X)
    with pytest.raises(ValueError, match=f"tensors only.*{received}"):
        predicted(model, vectorized=vectorized)
