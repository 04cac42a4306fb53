"""Where Keras' `fit` calls what users give it.

`_backend.is_in_trainer` tells it by the file of the method; on JAX the method
has the model as `self`, in whatever thread it runs.
"""

import threading

import keras
import numpy as np

from kerasdrop import _backend

X = np.ones((8, 4), "float32")


def model_of():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.compile("sgd", "mse")
    return model


class Ask(keras.callbacks.Callback):
    """Asks in each hook of this thread, and in another one."""

    def __init__(self):
        super().__init__()
        self.here, self.elsewhere = [], []

    def _ask(self, *args, **kwargs):
        self.here.append(_backend.is_in_trainer())
        other = threading.Thread(target=self._ask_elsewhere)
        other.start()
        other.join()

    def _ask_elsewhere(self):
        models = _backend.models_of_other_threads()
        assert not _backend.is_in_trainer()
        self.elsewhere.append([id(model) for model in models])

    on_train_batch_begin = on_epoch_begin = on_epoch_end = _ask
    on_test_batch_begin = on_predict_batch_begin = _ask


def test_a_callback_is_called_by_the_trainer():
    model, ask = model_of(), Ask()
    model.fit(
        X, X, validation_data=(X, X), batch_size=4, verbose=0, callbacks=[ask]
    )
    model.predict(X, verbose=0, callbacks=[ask])
    assert ask.here == [True] * len(ask.here)
    assert len(ask.here) == 2 + 2 + 1 + 1 + 1
    models = {id(model)} if keras.backend.backend() == "jax" else set()
    assert [set(found) for found in ask.elsewhere] == [models] * len(ask.here)


def test_elsewhere_nobody_trains():
    assert not _backend.is_in_trainer()
    assert _backend.models_of_other_threads() == []


def test_when_a_training_ends_the_values_are_back_for_good():
    model, ask = model_of(), Ask()
    end = keras.callbacks.LambdaCallback(on_train_end=ask._ask)
    model.fit(X, X, verbose=0, callbacks=[end])
    assert ask.elsewhere == [[]]
    model.fit(X, X, verbose=0)
