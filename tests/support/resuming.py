"""A training with every kind of rate, which is interrupted and resumed.

`main` trains it, saves in three ways at once, and kills its process in the
middle of an epoch.
"""

import os
import signal

import keras
import numpy as np

from kerasdrop import schedules
from kerasdrop.callbacks import AdaptiveDropoutRate
from kerasdrop.callbacks import DropoutRateScheduler
from kerasdrop.layers import Dropout

ROWS, STEPS, EPOCHS = 8, 6, 8
KILL_EPOCH, KILL_BATCH = 4, 4
BATCHES_PER_BACKUP = 4


def data():
    random = np.random.default_rng(0)
    x = random.normal(size=(STEPS * ROWS, 5)).astype("float32")
    return x, (x**2).sum(1, keepdims=True)


def build(seed):
    """The model. A checkpoint must restore everything that the seed decides."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((5,))])
    for dropout in (
        Dropout(0.5, name="by_epoch"),
        Dropout(0.5, name="by_batch", seed=1),
        Dropout(schedules.Linear(0.0, 0.6, EPOCHS * STEPS), name="inside"),
        Dropout(0.3, name="adaptive"),
    ):
        model.add(keras.layers.Dense(8, activation="tanh"))
        model.add(dropout)
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def our_callbacks(folder=None, patience=3):
    """The callbacks that change rates; their state is in the folder.

    The adaptive rate changes after one more epoch than its patience.
    """
    state_path = folder and os.path.join(folder, "adaptive.json")
    return [
        DropoutRateScheduler(lambda epoch: 0.6 / (1 + epoch), layers="by_e*"),
        DropoutRateScheduler(
            schedules.Cosine(0.6, 0.1, EPOCHS * STEPS), "batch", "by_batch"
        ),
        AdaptiveDropoutRate(
            # No epoch counts as an improvement. With patience 3 the rate
            # changes at the end of epochs 3 and 6, and the training is resumed
            # after epoch 3.
            min_delta=1e6,
            patience=patience,
            factor=0.5,
            layers="adaptive",
            train_data=data(),
            target_gap=-1e6,
            state_path=state_path,
        ),
    ]


def fit(model, callbacks, initial_epoch=0):
    model.fit(
        *data(),
        batch_size=ROWS,
        shuffle=False,
        validation_data=data(),
        epochs=EPOCHS,
        initial_epoch=initial_epoch,
        callbacks=callbacks,
        verbose=0,
    )
    return model


def backup(folder, save_freq):
    return keras.callbacks.BackupAndRestore(
        os.path.join(folder, f"backup_{save_freq}"), save_freq
    )


def checkpoint_path(folder, epoch="{epoch}"):
    return os.path.join(folder, f"after_{epoch}.keras")


class At(keras.callbacks.Callback):
    """Calls a function at the end of one batch."""

    def __init__(self, epoch, batch, function):
        super().__init__()
        self.place = epoch, batch
        self.function = function

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            self.function()


def kill_this_process():
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder):
    fit(
        build(seed=0),
        [
            # This saves before the rate is adapted, since the order must not
            # matter.
            backup(folder, "epoch"),
            backup(folder, BATCHES_PER_BACKUP),
            keras.callbacks.ModelCheckpoint(checkpoint_path(folder)),
            *our_callbacks(folder),
            At(KILL_EPOCH, KILL_BATCH, kill_this_process),
        ],
    )
