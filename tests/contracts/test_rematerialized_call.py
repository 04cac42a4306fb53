"""`rematerialized_call` is where a `RematScope` gets hold of a layer.

Our layers override it and return the call as it is. It is not documented.
"""

import keras
import numpy as np


class Layer(keras.layers.Layer):
    asked = False

    def call(self, inputs):
        return inputs

    def rematerialized_call(self, layer_call, *args, **kwargs):
        self.asked = True
        return layer_call


def test_a_layer_in_a_scope_is_asked():
    with keras.RematScope(mode="full"):
        layer = Layer()
    layer(np.ones((2, 3)))
    assert layer.asked


def test_a_layer_outside_a_scope_is_not_asked():
    layer = Layer()
    layer(np.ones((2, 3)))
    assert not layer.asked
