"""Keras threads the state of any `SeedGenerator` subclass through a step.

The rate, the key and the counters of our layers are held that way.
"""

import keras
import numpy as np
from keras import ops


class Holder(keras.random.SeedGenerator):
    def __init__(self):
        self.name = "holder"
        self.backend = keras.backend
        self._initial_seed = None
        self.state = keras.Variable(0.0, trainable=False, name="held")


class Layer(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.holder = Holder()

    def call(self, inputs):
        self.holder.state.assign(self.holder.state + 1.0)
        return inputs


def test_the_state_is_a_variable_and_no_weight():
    layer = Layer()
    assert (len(layer.variables), len(layer.weights)) == (1, 0)


def test_a_compiled_training_step_updates_the_state():
    layer = Layer()
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.build((None, 2))
    before = float(ops.convert_to_numpy(layer.holder.state.value))
    model.fit(np.ones((6, 2)), np.ones((6, 1)), batch_size=2, verbose=0)
    after = float(ops.convert_to_numpy(layer.holder.state.value))
    assert after - before == 3.0


def test_a_compiled_prediction_updates_the_state():
    layer = Layer()
    model = keras.Sequential([keras.Input((2,)), layer])
    before = float(ops.convert_to_numpy(layer.holder.state.value))
    model.predict(np.ones((6, 2)), batch_size=2, verbose=0)
    after = float(ops.convert_to_numpy(layer.holder.state.value))
    assert after - before == 3.0
