"""In an epoch on JAX, reading a variable of the model is a `TypeError`.

`DrawState` turns that error into one that names the fix. If Keras stops
purging the values, a rate that is set in a batch callback is lost in silence.
"""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="only JAX holds the state apart"
)


def errors_in_callback(touch_model):
    layer = keras.layers.Dropout(0.5)
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    errors = []

    class Read(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if touch_model:
                _ = self.model
            try:
                _ = layer.seed_generator.state.value
            except Exception as error:
                errors.append(type(error))

    model.fit(
        np.ones((6, 2)),
        np.ones((6, 1)),
        batch_size=2,
        verbose=0,
        callbacks=[Read()],
    )
    return errors


def test_the_values_are_purged_from_the_first_step_on():
    # Before the first of the three steps they are still there.
    assert errors_in_callback(touch_model=False) == [TypeError] * 2


def test_touching_the_model_of_a_callback_brings_them_back():
    assert errors_in_callback(touch_model=True) == []
