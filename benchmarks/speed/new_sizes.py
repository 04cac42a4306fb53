"""What a batch of a new size costs, with our layer and with that of Keras.

    KERAS_BACKEND=tensorflow python -m benchmarks.speed.new_sizes

The script trains two models that differ in the dropout layer, in turn: on
batches of new sizes, on the same sizes again, and on one size. Then it calls
both layers on sequences of new lengths without compiling. It prints the median
processor time of each, and the ratio of the two, which other processes disturb
less than the times.

JAX compiles a whole step for each size, whatever the step contains.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

from kerasdrop import layers

WARM_UP = (3, 5, 7)


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, default=60)
    parser.add_argument("--units", type=int, default=64)
    return parser.parse_args(argv)


def training_of(layer, units):
    """A function that trains on a batch of so many rows."""
    model = keras.Sequential(
        [keras.Input((units,)), layer, keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")

    def train(size):
        x = np.ones((size, units), "float32")
        model.train_on_batch(x, x[:, :1])

    return train


def calling_of(layer, units):
    """A function that calls a layer on sequences of such a length."""

    def call(size):
        x = keras.ops.ones((4, size, units))
        keras.ops.convert_to_numpy(layer(x, training=True))

    return call


def milliseconds(functions, sizes):
    """Medians of processor time, of functions that take turns."""
    taken = [[] for _ in functions]
    for size in sizes:
        for function, times in zip(functions, taken):
            start = time.process_time()
            function(size)
            times.append(1000 * (time.process_time() - start))
    return [statistics.median(times) for times in taken]


def both(make, units):
    functions = [
        make(cls(0.5, seed=0), units)
        for cls in (keras.layers.Dropout, layers.Dropout)
    ]
    milliseconds(functions, WARM_UP)
    return functions


def main(argv=None):
    options = arguments(argv)
    new = range(20, 20 + options.sizes)
    print(f"{keras.backend.backend()}, milliseconds: stock, ours, ratio")
    training = both(training_of, options.units)
    calling = both(calling_of, options.units)
    for name, functions, sizes in (
        ("train_on_batch, each size new", training, new),
        ("each size for the second time", training, new),
        ("each size for the third time", training, new),
        ("one size", training, [20] * 100),
        ("eager call, each length new", calling, new),
        ("eager call, one length", calling, [20] * 100),
    ):
        stock, ours = milliseconds(functions, sizes)
        print(f"{name:32}{stock:8.2f}{ours:8.2f}{ours / stock:7.2f}")


if __name__ == "__main__":
    main()
