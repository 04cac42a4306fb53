"""A batch of a new size costs about what it costs with the layer of Keras.

TensorFlow's compiler takes longer for one size than a hundred batches do: so a
size is compiled for when it comes again, and the bits are the same each time.
"""

import statistics
import time

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers
from tests.support import compiling

BACKEND = keras.backend.backend()


@pytest.mark.parametrize("mode", compiling.MODES)
def test_a_mask_is_the_same_whenever_its_size_comes(mode):
    x = np.ones((9, 7), "float32")
    layer = layers.Dropout(0.5, seed=3)
    expected = [ops.convert_to_numpy(layer(x, training=True)) for _ in range(4)]
    layer = layers.Dropout(0.5, seed=3)
    states = [variable.value for variable in layer.non_trainable_variables]

    @compiling.compiled(mode, backend="eager")
    def call(states, x):
        return layer.stateless_call([], states, x, training=True)

    found = []
    for rows in (9, 5, 9, 9, 5, 9):
        outputs, new = call(states, ops.convert_to_tensor(x[:rows]))
        if rows == 9:
            found.append(ops.convert_to_numpy(outputs))
            states = new
    np.testing.assert_array_equal(found, expected)


def train_function(layer):
    units = 32
    model = keras.Sequential(
        [keras.Input((units,)), layer, keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")

    def train(size):
        x = np.ones((size, units), "float32")
        model.train_on_batch(x, x[:, :1])

    return train


def call_function(layer):
    def call(size):
        layer(ops.ones((3, size, 8)), training=True)

    return call


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="the others compile all of a step, or none"
)
@pytest.mark.parametrize("make", [train_function, call_function])
def test_a_new_size_is_not_compiled_for(make):
    functions = [
        make(keras.layers.Dropout(0.5, seed=0)),
        make(layers.Dropout(0.5, seed=0)),
    ]
    taken = [[] for _ in functions]
    for size in (3, 5, 7, *range(20, 32)):
        for function, times in zip(functions, taken):
            start = time.process_time()
            function(size)
            times.append(time.process_time() - start)
    # Without the first calls, which trace.
    stock, ours = (statistics.median(times[3:]) for times in taken)
    # About 1.3 and 28: of other processes this time knows nothing.
    assert ours < 5 * stock
