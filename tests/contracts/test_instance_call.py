"""A `call` set on one layer object is the one that Keras runs.

Stock layers are made stochastic that way while a Monte Carlo pass is traced.
It has to go past Keras' attribute tracker, and to leave no trace.
"""

import keras
import numpy as np
from keras import ops


def called(layer):
    return ops.convert_to_numpy(layer(np.ones((2, 3)))).tolist()


def test_a_layer_runs_the_call_of_its_object():
    layer = keras.layers.Dropout(0.5)
    object.__setattr__(layer, "call", lambda inputs, **_: inputs * 0.0)
    assert called(layer) == [[0.0] * 3] * 2


def test_without_it_the_class_shows_again():
    layer = keras.layers.Dropout(0.5)
    object.__setattr__(layer, "call", lambda inputs, **_: inputs * 0.0)
    del vars(layer)["call"]
    assert called(layer) == [[1.0] * 3] * 2


def test_a_model_that_is_traced_meanwhile_runs_it():
    layer = keras.layers.Dropout(0.5)
    base = keras.Sequential([keras.Input((3,)), layer])

    class Patched(keras.Model):
        def call(self, inputs):
            object.__setattr__(layer, "call", lambda x, **_: x * 0.0)
            outputs = base(inputs)
            del vars(layer)["call"]
            return outputs

    predictions = Patched().predict(np.ones((2, 3)), verbose=0)
    assert predictions.tolist() == [[0.0] * 3] * 2
