"""Trains by one process and by several, with results that must be equal.

The loops are those of `docs/distributed.md`. Plain `fit` of a single process
gives the right results.
"""

import os

import keras
import numpy as np

from tests.support import helpers
from tests.support import resuming

# The last batch of an epoch has 5 rows, which do not divide over 2 processes.
ROWS, BATCH = 45, 8
# Another number of processes resumes after the epoch in which the adaptive rate
# changes.
EPOCHS, RESUMED = 3, 2
# The callbacks that change a rate by themselves.
PATIENCE = 1
# The quantities that are compared.
NAMES = ("weights", "states", "rates")


def data():
    return tuple(array[:ROWS] for array in resuming.data())


def build(kind=None, seed=0):
    """The model. Adam is not used, because it divides by rounded numbers."""
    model = resuming.build(seed)
    if kind is not None:
        model = kind(model.inputs, model.outputs)
    model.compile(keras.optimizers.SGD(0.02, momentum=0.5), "mse")
    return model


def callbacks(folder, saved=None):
    """Our callbacks in each process, and in one those that save to `saved`."""
    found = resuming.our_callbacks(folder, PATIENCE)
    if saved is not None:
        found.append(keras.callbacks.ModelCheckpoint(saved))
    return found


def path_of(folder, epoch="{epoch}"):
    return resuming.checkpoint_path(folder, epoch)


class Mirrored(keras.Model):
    """Stands for the class of the page if one process resumes."""


def resumed(folder, kind=None):
    """The model that was saved in a folder after `RESUMED` epochs.

    Args:
        folder: Path.
        kind: A class to make the model of, if it must be another one.
    """
    known = {"Custom>Mirrored": Mirrored}
    model = keras.saving.load_model(path_of(folder, RESUMED), known)
    if kind is None:
        return model
    other = kind(model.inputs, model.outputs)
    other.compile(model.optimizer, model.loss)
    return other


def alone(folder, order_of, model=None):
    """Plain `fit` of one process, from the start or from a saved state.

    Args:
        folder: Path of the states that are saved after each epoch.
        order_of: A function from the epoch to the order of its rows.
        model: None, or a result of `resumed(folder)`.

    Returns:
        The model.
    """
    start = 0 if model is None else RESUMED
    model = model or build()
    for epoch in range(start, EPOCHS):
        x, y = (array[order_of(epoch)] for array in data())
        model.fit(
            *(x, y, BATCH),
            initial_epoch=epoch,
            epochs=epoch + 1,
            validation_data=data(),
            callbacks=callbacks(folder, path_of(folder)),
            shuffle=False,
            verbose=0,
        )
    return model


def result_of(model, name=""):
    """The results of training: weights, and values that must be equal bits."""
    states = [
        layer._state.read(state)
        for layer in model.layers
        if hasattr(layer, "_state")
        for state in ("key", "step")
    ]
    rates = [layer.rate for layer in model.layers if hasattr(layer, "rate")]
    return {
        f"{name}weights": np.concatenate(
            [weight.ravel() for weight in model.get_weights()]
        ),
        f"{name}states": np.concatenate([state.ravel() for state in states]),
        f"{name}rates": np.array(rates),
    }


def of_way(found, way):
    """One part of a result of `both_ways`, a dict like that of `result_of`."""
    return {name: found[f"{way} {name}"] for name in NAMES}


def assert_same(result, expected):
    """Asserts equal keys, steps and rates, and equal weights up to rounding.

    A float32 sum of `n` terms is off by less than `n 2**-24` of the sum of
    their sizes. A gradient goes forward and back through 5 layers of 9 terms,
    and adds up the rows of a batch; no weight and no update is larger than
    the largest weight here. Both results are off, and momentum doubles it.
    """
    np.testing.assert_array_equal(result["states"], expected["states"])
    np.testing.assert_array_equal(result["rates"], expected["rates"])
    largest = np.abs(expected["weights"]).max()
    steps = EPOCHS * -(-ROWS // BATCH)
    terms = 2 * 5 * 9 + BATCH
    np.testing.assert_allclose(
        result["weights"],
        expected["weights"],
        rtol=0.0,
        atol=2 * 2 * steps * terms * 2.0**-24 * largest,
        err_msg="weights",
    )


def names_of(word, **given):
    """The names after running the page's code for the data and one other."""
    names = {"__name__": "page"}
    exec(helpers.code_of("distributed.md", "class Part"), names)
    # The page has small data of its own.
    names.update(given)
    exec(helpers.code_of("distributed.md", word), names)
    return names


def both_ways(rank, folder, train, model, kind=None):
    """Trains from the start, and from a state that one process saved.

    Args:
        rank: Integer.
        folder: Path. Its folder `alone` has the states that `alone` saved; the
            folder `together` is made.
        train: A function of a model, its first epoch, callbacks and validation
            data.
        model: A model from `build`.
        kind: Its class, if it is not the class that `alone` saved.

    Returns:
        A dict of arrays.
    """
    # Each process has its own files, and the test reads those of rank 0. All
    # share the path of the adaptive rate's state.
    together = os.path.join(folder, "together")
    saved = path_of(f"{together}/{rank}" if rank else together)
    train(model, 0, callbacks(together, saved), data())
    before = os.path.join(folder, "alone")
    later = resumed(before, kind)
    train(later, RESUMED, callbacks(before), data())
    return {**result_of(model, "straight "), **result_of(later, "resumed ")}


def of_torch(rank, folder):
    """Runs the loop of the page, in each process of a group."""
    import contextlib
    from unittest import mock

    import torch

    import kerasdrop

    names = names_of("DistributedSampler")
    rows = torch.utils.data.TensorDataset(*map(torch.tensor, data()))

    def train(model, start, *arguments):
        names["train"](model, rows, BATCH, EPOCHS, start, *arguments)

    # Weights, keys and rates come from rank 0.
    found = both_ways(rank, folder, train, build(seed=rank))
    unnumbered = build()
    nothing = mock.Mock(return_value=contextlib.nullcontext())
    with mock.patch.object(kerasdrop, "row_scope", nothing):
        train(unnumbered, 0, callbacks(None), data())
    return found | result_of(unnumbered, "unnumbered ")


def of_jax(rank, folder):
    """Runs the page's loop for each process."""
    x, y = data()
    names = names_of(
        "set_distribution(distribution)",
        **{"x": x, "y": y, "batch_size": BATCH, "build": build},
        **{"rank": rank, "world": 2},
    )

    def train(model, start, *arguments):
        names["train"](model, EPOCHS, start, *arguments)

    found = both_ways(rank, folder, train, names["model"])
    keras.distribution.set_distribution(None)
    return found


def page_of_tensorflow():
    """The names of the page for replicas, including `strategy`."""
    x, y = data()
    return names_of(
        "MirroredStrategy",
        **{"x": x, "y": y, "batch_size": BATCH, "build": build},
        devices=["CPU:0", "CPU:1"],
    )


def of_tensorflow(folder, names):
    """Runs the names of `page_of_tensorflow` in the process of the replicas."""

    def train(model, start, *arguments):
        names["train"](model, EPOCHS, start, *arguments)

    # As users do who put their whole script inside.
    with names["strategy"].scope():
        return both_ways(0, folder, train, names["model"], names["Mirrored"])
