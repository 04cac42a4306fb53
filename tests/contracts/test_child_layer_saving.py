"""A child layer saves and loads for itself, also where there is nothing.

So the state of our layers is in the checkpoint, and a checkpoint of a stock
layer, without such a group, loads all the same.
"""

import keras
import numpy as np
import pytest


class Child(keras.layers.Layer):
    def __init__(self):
        super().__init__(name="child")
        self.note = 0
        self.built = True

    def save_own_variables(self, store):
        store["note"] = np.asarray(7)

    def load_own_variables(self, store):
        self.note = int(store["note"][()]) if "note" in store.keys() else -1


@keras.saving.register_keras_serializable("kerasdrop_tests", "Dropout")
class Dropout(keras.layers.Dropout):
    """Named as the stock layer: Keras' paths come from the class name."""

    def __init__(self, rate, **kwargs):
        keras.layers.Layer.__init__(self, **kwargs)
        self.rate, self.seed, self.noise_shape = rate, None, None
        self._child = Child()
        self.built = True


def model_with(layer):
    return keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])


def saved_and_loaded(source, target, path):
    model_with(source).save_weights(path)
    model_with(target).load_weights(path)
    return target


def test_the_child_is_asked_to_save_and_to_load(tmp_path):
    path = tmp_path / "model.weights.h5"
    loaded = saved_and_loaded(Dropout(0.5), Dropout(0.5), path)
    assert loaded._child.note == 7


def test_a_missing_group_is_an_empty_store(tmp_path):
    path = tmp_path / "model.weights.h5"
    loaded = saved_and_loaded(keras.layers.Dropout(0.5), Dropout(0.5), path)
    assert loaded._child.note == -1


def test_a_group_that_nobody_wants_is_ignored(tmp_path):
    path = tmp_path / "model.weights.h5"
    saved_and_loaded(Dropout(0.5), keras.layers.Dropout(0.5), path)


def test_a_layer_with_weights_does_not_tolerate_a_missing_group(tmp_path):
    path = tmp_path / "model.weights.h5"
    model_with(keras.layers.Dropout(0.5)).save_weights(path)
    with pytest.raises(ValueError, match="could not be loaded"):
        model_with(keras.layers.BatchNormalization()).load_weights(path)
