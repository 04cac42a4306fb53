"""Callbacks are called as Keras calls them, and get what is computed."""

import threading

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from tests.support import memory

X = np.random.default_rng(0).normal(size=(10, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(10, 2)).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((3,)), layers.Dropout(0.5), layers.Dense(2)]
    )


@pytest.fixture(scope="module")
def predictive(model):
    predictive = kerasdrop.MonteCarlo(model, 16, seed=1)
    predictive.compile(loss="mse", metrics=["mae"])
    return predictive


class Notes(keras.callbacks.Callback):
    """Notes each call, and the names in its logs."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self.logs = [], []
        self.stop_after = stop_after

    def note(self, name, logs, *batch):
        self.calls.append((name, *batch, sorted(logs or {})))
        self.logs.append(logs)

    def on_predict_begin(self, logs=None):
        self.note("predict begin", logs)

    def on_predict_batch_begin(self, batch, logs=None):
        self.note("predict batch begin", logs, batch)

    def on_predict_batch_end(self, batch, logs=None):
        self.note("predict batch end", logs, batch)

    def on_predict_end(self, logs=None):
        self.note("predict end", logs)

    def on_test_begin(self, logs=None):
        self.note("test begin", logs)

    def on_test_batch_begin(self, batch, logs=None):
        self.note("test batch begin", logs, batch)

    def on_test_batch_end(self, batch, logs=None):
        self.note("test batch end", logs, batch)
        self.model.stop_evaluating = batch == self.stop_after

    def on_test_end(self, logs=None):
        self.note("test end", logs)


@pytest.mark.parametrize("collect", [True, False])
def test_calls_of_predict_are_those_of_keras(model, predictive, collect):
    of_keras, ours = Notes(), Notes()
    settings = {"batch_size": 4, "verbose": 0}
    model.predict(X, callbacks=[of_keras], **settings)
    predictive.predict(X, callbacks=[ours], collect=collect, **settings)
    assert ours.calls == of_keras.calls


def test_calls_of_evaluate_are_those_of_keras(model, predictive):
    model.compile(loss="mse", metrics=["mae"])
    of_keras, ours = Notes(), Notes()
    settings = {"batch_size": 4, "verbose": 0}
    model.evaluate(X, Y, callbacks=[of_keras], **settings)
    found = predictive.evaluate(
        X, Y, callbacks=[ours], return_dict=True, **settings
    )
    assert ours.calls == of_keras.calls
    assert ours.logs[-1] == ours.logs[-2] == found


def test_a_callback_can_stop_evaluating(predictive):
    settings = {"batch_size": 4, "verbose": 0}
    stopped = predictive.evaluate(X, Y, callbacks=Notes(1), **settings)
    eight = predictive.evaluate(X[:8], Y[:8], **settings)
    np.testing.assert_allclose(stopped, eight, rtol=1e-5)
    # The next one runs to its end.
    whole = predictive.evaluate(X, Y, **settings)
    assert abs(whole[0] - eight[0]) > 1e-3


@pytest.mark.parametrize("batches", [False, True])
def test_the_logs_are_the_results_of_the_rows(predictive, batches):
    class Write(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.parts = []

        def on_predict_batch_end(self, batch, logs=None):
            self.parts.append(logs["outputs"])

    expected = predictive.predict(X, batch_size=4, verbose=0)
    write = Write()
    x = (X[start : start + 4] for start in (0, 4, 8)) if batches else X
    found = predictive.predict(
        x, batch_size=4, verbose=0, callbacks=[write], collect=False
    )
    assert found is None
    assert [len(part["mean"]) for part in write.parts] == [4, 4, 2]
    for name, value in expected.items():
        joined = np.concatenate([part[name] for part in write.parts])
        np.testing.assert_array_equal(joined, value)


def test_a_function_and_a_list_of_keras_are_callbacks(predictive):
    lengths = []

    def note(batch, logs):
        lengths.append(len(logs["outputs"]["mean"]))

    one = keras.callbacks.LambdaCallback(on_predict_batch_end=note)
    several = keras.callbacks.CallbackList([one], model=predictive)
    for callbacks in (one, [one], several):
        predictive.predict(X, verbose=0, callbacks=callbacks, collect=False)
    assert lengths == [10] * 3


def test_no_thread_is_started_for_callbacks_that_are_not_there(
    predictive, monkeypatch
):
    predictive.predict(X, verbose=0)
    started, start = [], threading.Thread.start

    def noted(thread):
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    predictive.predict(X, verbose=0)
    assert not started


def test_rows_that_did_not_converge_are_counted_without_results(model):
    predictive = kerasdrop.MonteCarlo(model, 128, seed=1, tolerance=1e-6)
    with pytest.warns(UserWarning, match="10 of 10 rows did not reach"):
        predictive.predict(
            X, batch_size=4, verbose=0, callbacks=[Notes()], collect=False
        )


@pytest.mark.parametrize("callbacks", [None, [], ()])
def test_what_nobody_gets_is_not_computed(predictive, callbacks):
    with pytest.raises(ValueError, match=r"Pass `callbacks=\[...\]`.*Received"):
        predictive.predict(X, callbacks=callbacks, collect=False)


@pytest.mark.parametrize("collect", [None, 0, "no"])
def test_an_illegal_collect(predictive, collect):
    with pytest.raises(ValueError, match="`collect` must be"):
        predictive.predict(X, collect=collect)


@pytest.mark.parametrize("callbacks", [[print], "tensorboard", [Notes]])
def test_what_is_no_callback(predictive, callbacks):
    with pytest.raises(ValueError, match="list of `keras.callbacks.Callback`"):
        predictive.predict(X, callbacks=callbacks)


@memory.only_on_linux
def test_what_is_not_collected_takes_no_memory():
    rows, units, batch = 2048, 4096, 64
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dropout(0.5), layers.Dense(units)]
    )
    predictive = kerasdrop.MonteCarlo(
        model, 2, seed=0, plan="independent", verify=False
    )
    x = np.random.default_rng(0).normal(size=(rows, 2))
    watch = memory.Watch(4)
    predictive.predict(
        x, batch_size=batch, verbose=0, callbacks=[watch], collect=False
    )
    # Mean, variance, their root and standard error of three quarters of the
    # rows would be 96 MiB.
    assert watch.growth < 32 * memory.MIB
