"""A variable with `autocast=False` stays float32 in a float16 layer.

The rate is held in one: rounded to float16, .3 would be .300049.
"""

import keras
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("autocast", "dtype"), [(False, "float32"), (True, "float16")]
)
def test_only_autocast_rounds_a_variable(autocast, dtype):
    class Layer(keras.layers.Layer):
        def __init__(self):
            super().__init__(dtype="mixed_float16")
            self.held = keras.Variable(
                0.3, dtype="float32", autocast=autocast, trainable=False
            )

        def call(self, inputs):
            self.seen = keras.backend.standardize_dtype(self.held.value.dtype)
            return inputs

    layer = Layer()
    layer(np.ones((2, 3)))
    assert layer.seen == dtype
