"""All callbacks at once, with those of Keras, in one `fit`."""

import keras
import numpy as np
import pytest

from kerasdrop import schedules
from kerasdrop.callbacks import AdaptiveDropoutRate
from kerasdrop.callbacks import DropoutRateLogger
from kerasdrop.callbacks import DropoutRateScheduler
from kerasdrop.layers import Dropout
from tests.support.modes import JIT_MODES

EPOCHS, STEPS, ROWS = 4, 3, 8


def model_of(jit_compile, optimizer=None):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            Dropout(0.5, seed=0, name="by_epoch"),
            keras.layers.Dense(8, activation="relu"),
            Dropout(0.5, seed=1, name="by_batch"),
            keras.layers.Dense(8, activation="relu"),
            Dropout(0.5, seed=2, name="adaptive"),
            Dropout(schedules.Linear(0.0, 0.6, 12), seed=3, name="inside"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        optimizer or keras.optimizers.SGD(0.0),
        "mse",
        jit_compile=jit_compile,
    )
    return model


def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(STEPS * ROWS, 4)).astype("float32")
    return x, x.sum(1, keepdims=True)


def fit(model, *callbacks):
    x, y = data()
    return model.fit(
        x,
        y,
        batch_size=ROWS,
        epochs=EPOCHS,
        validation_data=(x, y),
        verbose=0,
        callbacks=[*callbacks],
    ).history


def all_of_ours(folder):
    return [
        DropoutRateLogger("batch"),
        DropoutRateScheduler(lambda epoch: epoch / 4, layers="by_epoch"),
        DropoutRateScheduler(
            lambda step: step / 16, "batch", layers="by_batch"
        ),
        AdaptiveDropoutRate(
            patience=1,
            factor=0.5,
            layers="adaptive",
            train_data=data(),
            target_gap=-1.0,
            state_path=folder / "state.json",
        ),
    ]


EXPECTED_RATES = {
    "rate/by_epoch": [0.0, 0.25, 0.5, 0.75],
    "rate/by_batch": [2 / 16, 5 / 16, 8 / 16, 11 / 16],
    "rate/adaptive": [0.5, 0.5, 0.75, 0.875],
    "rate/inside": [0.15, 0.3, 0.45, 0.6],
}


def assert_rates(history):
    for name, expected in EXPECTED_RATES.items():
        np.testing.assert_allclose(history[name], expected, rtol=1e-6)


@pytest.mark.parametrize("jit_compile", JIT_MODES)
def test_several_callbacks_each_move_their_layers(jit_compile, tmp_path):
    model = model_of(jit_compile)
    assert_rates(fit(model, *all_of_ours(tmp_path)))


def test_callbacks_of_keras_beside_them_change_nothing(tmp_path):
    optimizer = keras.optimizers.SGD(0.0, use_ema=True)
    history = fit(
        model_of("auto", optimizer),
        *all_of_ours(tmp_path),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.ReduceLROnPlateau(patience=1),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5"),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        keras.callbacks.EarlyStopping(patience=EPOCHS),
    )
    assert_rates(history)


def test_early_stopping_may_watch_a_rate(tmp_path):
    history = fit(
        model_of("auto"),
        *all_of_ours(tmp_path),
        keras.callbacks.EarlyStopping("rate/adaptive", patience=1, mode="min"),
    )
    assert history["rate/adaptive"] == [0.5, 0.5]


def test_early_stopping_restores_weights_and_no_rates():
    model = model_of("auto")
    fit(
        model,
        DropoutRateScheduler(lambda e: e / 4, layers="by_epoch"),
        keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
    )
    assert model.get_layer("by_epoch").rate == 0.5
