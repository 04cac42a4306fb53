"""What it costs to change a rate at every batch, by a callback or in the layer.

    KERAS_BACKEND=jax python -m benchmarks.speed.callback_cost --layers 100

The model is a stack of dense, batch normalisation and dropout layers. It has
many variables with little work for each, which is the worst case. For each way
the script prints the time of a training step of `fit`, the minimum over epochs.
On JAX a callback makes Keras take all variables out of its loop and put them
back.
"""

import argparse
import os
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

from kerasdrop import schedules
from kerasdrop.callbacks import DropoutRateLogger
from kerasdrop.callbacks import DropoutRateScheduler
from kerasdrop.layers import Dropout

ROWS = 32


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50, help="per epoch")
    parser.add_argument("--epochs", type=int, default=5)
    return parser.parse_args(argv)


class EpochTimes(keras.callbacks.Callback):
    """Notes how long each epoch took, in seconds."""

    # Keras on JAX would otherwise wait for each batch.
    async_safe = True

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.start)


def model_of(rate, num_layers, units):
    model = keras.Sequential([keras.Input((units,))])
    for _ in range(num_layers):
        model.add(keras.layers.Dense(units, activation="relu"))
        model.add(keras.layers.BatchNormalization())
        model.add(Dropout(rate, seed=0))
    model.add(keras.layers.Dense(1))
    model.compile("adam", "mse")
    return model


def milliseconds_per_step(rate, callbacks, options):
    model = model_of(rate, options.layers, options.units)
    times = EpochTimes()
    rows = options.steps * ROWS
    model.fit(
        np.ones((rows, options.units), "float32"),
        np.zeros((rows, 1), "float32"),
        batch_size=ROWS,
        epochs=options.epochs + 1,
        callbacks=[times, *callbacks],
        verbose=0,
    )
    # The first epoch compiles; other processes only ever add to the others.
    seconds = min(times.seconds[1:]) / options.steps
    num_variables = len(model.variables) + len(model.optimizer.variables)
    return 1000 * seconds, num_variables


def main(argv=None):
    options = arguments(argv)
    num_steps = options.steps * (options.epochs + 1)
    ramp = schedules.Linear(0.1, 0.5, num_steps)
    halves = schedules.Steps([num_steps // 2], [0.1, 0.5])
    ways = {
        "constant rate": (0.1, []),
        "schedule in the layers": (ramp, []),
        "callback, each epoch": (0.1, [DropoutRateScheduler(lambda e: 0.1)]),
        "callback, each batch": (0.1, [DropoutRateScheduler(ramp, "batch")]),
        "callback, batch, two rates": (
            0.1,
            [DropoutRateScheduler(halves, "batch")],
        ),
        "logger, each batch": (0.1, [DropoutRateLogger("batch")]),
    }
    print(f"backend: {keras.backend.backend()}, {options.layers} layers")
    print(f"{'way':<28}{'ms per step':>12}{'variables':>12}")
    for name, (rate, callbacks) in ways.items():
        time_of_step, num_variables = milliseconds_per_step(
            rate, callbacks, options
        )
        print(f"{name:<28}{time_of_step:>12.2f}{num_variables:>12}")


if __name__ == "__main__":
    main()
