"""How rates chosen by `fit_rates` change predictions of new rows.

    KERAS_BACKEND=torch nice python -m benchmarks.statistics.fitted_rates
        --data DIR [--sets digits yacht] [--seeds 5] [--by-layer] [--quick]
        [--show]

DIR holds `mnist.npz`, `uci_concrete.npz` and `uci_yacht.npz` (arrays `x` and
`y`); digits and diabetes come with scikit-learn. Each seed gives another split
of the rows: three fifths to train, one fifth to fit the rate, one fifth to
test. For MNIST these are 5,000, 2,000 and 5,000 rows.

Networks of two hidden layers are trained with Adam for a fixed number of
epochs, without dropout, and with dropout behind each hidden layer at rates of
.2 and of .5. Each predicts the test rows in these ways:

- weight scaling: `predict`;
- training rate: Monte Carlo at the training rate;
- fitted rate: at the rate that `fit_rates` found by log-likelihood;
- inserted and fitted: `insert_dropout` before the last layer of the network
  without dropout, at the rate that `fit_rates` found;
- fitted by layer (`--by-layer`): with one rate for each of the two layers.

A regression needs the noise variance. Each way uses the one with the highest
likelihood on the rows of the fit: weight scaling their mean squared error, the
others one of the fractions `PARTS` of it.

Finished ones are kept in `benchmarks/results/fitted_rates_<backend>.json` and
not repeated. `--show` writes the tables into docs/fitting.md.
"""

import argparse
import os
import pathlib
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_diabetes
from sklearn.datasets import load_digits

import kerasdrop
from benchmarks.statistics import fitted_rates_tables
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import mnist_data
from benchmarks.support import reporting
from benchmarks.support.resumable import Report
from kerasdrop import calibration

NAME = "fitted_rates"
# Of two standard deviations of a normal, but exactly 95 % of it.
REACH = 1.959964
PARTS = (1.0, 0.5, 0.25, 0.125, 0.0625)
BATCH = 32
# Rows of a prediction at a time.
AT_ONCE = 512


class Sizes(NamedTuple):
    """What all parts of a report are made with.

    Attributes:
        samples: Integer, of a row.
        epochs_over: Integer, what the epochs are divided by.
    """

    samples: int
    epochs_over: int


class Data(NamedTuple):
    """A data set.

    Attributes:
        load: Function of a folder that returns all rows.
        epochs, units: Integers, of the training and of a hidden layer.
        classes: Integer; 0 for numbers.
        rows: Integers: to train, to fit, to judge; None for fifths.
    """

    load: object
    epochs: int
    units: int
    classes: int
    rows: object = None


class Rows(NamedTuple):
    """Inputs and targets."""

    x: object
    y: object


def uci(name):
    def load(folder):
        path = folder / f"uci_{name}.npz"
        if not path.exists():
            raise SystemExit(f"There is no {path}: pass its folder as --data.")
        with np.load(path) as file:
            return file["x"], file["y"]

    return load


def mnist(folder):
    (x, y), (x_test, y_test) = mnist_data.load(folder)
    return np.concatenate([x, x_test]), np.concatenate([y, y_test])


SETS = {
    "digits": Data(lambda _: load_digits(return_X_y=True), 40, 128, 10),
    "MNIST": Data(mnist, 20, 256, 10, (5000, 2000, 5000)),
    "diabetes": Data(lambda _: load_diabetes(return_X_y=True), 100, 64, 0),
    "concrete": Data(uci("concrete"), 150, 64, 0),
    "yacht": Data(uci("yacht"), 200, 64, 0),
}
RATES = (0.0, 0.2, 0.5)


def split(data, folder, seed):
    """`Rows` to train, to fit and to judge; inputs and numbers scaled."""
    x, y = data.load(folder)
    counts = data.rows
    if counts is None:
        fifth = len(x) // 5
        counts = (len(x) - 2 * fifth, fifth, fifth)
    order = np.random.default_rng(seed).permutation(len(x))
    ends = np.cumsum(counts)
    train = order[: ends[0]]
    if data.classes:  # pixels
        x, y = (x / x.max()).astype("float32"), y.astype("int32")
    else:
        x, y = _scaled(x, train), _scaled(y[:, None], train)
    return [
        Rows(x[part], y[part])
        for part in (train, order[ends[0] : ends[1]], order[ends[1] : ends[2]])
    ]


def _scaled(array, train):
    """With mean 0 and standard deviation 1 in the rows of the training."""
    deviation = array[train].std(axis=0)
    deviation = np.where(deviation == 0.0, 1.0, deviation)
    return ((array - array[train].mean(axis=0)) / deviation).astype("float32")


def trained(data, train, rate, seed, epochs):
    keras.utils.set_random_seed(seed)
    parts = [keras.Input(train.x.shape[1:])]
    for _ in range(2):
        parts.append(layers.Dense(data.units, activation="relu"))
        if rate:
            parts.append(layers.Dropout(rate))
    last, loss = layers.Dense(1), "mse"
    if data.classes:
        last = layers.Dense(data.classes, activation="softmax")
        loss = "sparse_categorical_crossentropy"
    model = keras.Sequential([*parts, last])
    model.compile("adam", loss)
    model.fit(train.x, train.y, BATCH, epochs=epochs, verbose=0)
    return model


class Way:
    """Predictions of one network by Monte Carlo, and how good they are.

    Args:
        model: It.
        data: A `Data`.
        seed: Integer.
        samples: Integer.
    """

    def __init__(self, model, data, seed, samples):
        self._model = model
        self._data = data
        self._asked = {
            "num_samples": samples,
            "seed": seed,
            "kind": "probabilities" if data.classes else "regression",
            "batch_size": AT_ONCE,
            "verbose": 0,
            "verify": False,
        }

    def predicted(self, rows, rate, noise):
        return kerasdrop.mc_predict(
            self._model,
            rows.x,
            y=rows.y,
            rate=rate,
            noise_variance=noise,
            **self._asked,
        )

    def noises(self, held):
        """The variances of the noise that are tried."""
        if self._data.classes:
            return [None]
        mean = self._model.predict(held.x, AT_ONCE, verbose=0)
        return [part * float(np.square(held.y - mean).mean()) for part in PARTS]

    def at(self, rate, held, test):
        """The figures at a rate that is given."""
        noise = max(
            self.noises(held),
            key=lambda noise: self.predicted(
                held, rate, noise
            ).log_likelihood.mean(),
        )
        return self._figures(test, rate, noise)

    def fit(self, held, noise, groups=None):
        return kerasdrop.fit_rates(
            self._model,
            held.x,
            held.y,
            groups=groups,
            noise_variance=noise,
            **self._asked,
        )

    def fitted(self, held, test):
        """The figures at the rate that is fitted, and what is found there."""
        fits = [self.fit(held, noise) for noise in self.noises(held)]
        best = int(np.argmax([fit.best_score for fit in fits]))
        fit, noise = fits[best], self.noises(held)[best]
        gain, helps = fit.gain, fit.helps
        if best > 0:
            # The gain over weight scaling with its own noise, the first one.
            each = self.predicted(held, fit.rates, noise).log_likelihood
            each = each - self.plain(held)
            gain = float(each.mean())
            helps = bool(gain > 2.0 * each.std(ddof=1) / len(each) ** 0.5)
        return {
            **self._figures(test, fit.rates, noise),
            "rate": fit.rate,
            "equivalent": len(fit.equivalent),
            "gain": round(gain, 4),
            "helps": helps,
        }

    def fitted_by_layer(self, held, test):
        """The figures at a rate for each layer, with the noise of one rate."""
        noise = max(
            self.noises(held),
            key=lambda noise: self.fit(held, noise).best_score,
        )
        names = [
            layer.name
            for layer in self._model.layers
            if isinstance(layer, layers.Dropout)
        ]
        fit = self.fit(held, noise, {name: name for name in names})
        return {
            **self._figures(test, fit.rates, noise),
            "rates": list(fit.rates.values()),
            "sweeps": fit.num_sweeps,
            # Whether one rate for all is told from them.
            "told": not fit.equivalent,
        }

    def plain(self, held):
        """The log-likelihood of each row by weight scaling, of numbers."""
        mean = self._model.predict(held.x, AT_ONCE, verbose=0)
        variance = np.full_like(mean, self.noises(held)[0])
        return -np.ravel(
            calibration.gaussian_negative_log_likelihood(
                held.y, mean, variance, reduction=None
            )
        )

    def _figures(self, test, rate, noise):
        result = self.predicted(test, rate, noise)
        found = {"NLL": float(-result.log_likelihood.mean())}
        if self._data.classes:
            return rounded(found | of_classes(result.mean, test.y))
        variance = result.total_variance
        found |= of_numbers(result.mean, variance, test.y)
        return rounded({**found, "noise": noise})


def weight_scaling(model, data, held, test):
    mean = model.predict(test.x, AT_ONCE, verbose=0)
    if data.classes:
        loss = calibration.negative_log_likelihood(test.y, mean)
        return rounded({"NLL": float(loss), **of_classes(mean, test.y)})
    errors = held.y - model.predict(held.x, AT_ONCE, verbose=0)
    variance = np.full_like(mean, np.square(errors).mean())
    loss = calibration.gaussian_negative_log_likelihood(test.y, mean, variance)
    found = of_numbers(mean, variance, test.y)
    noise = float(variance[0, 0])
    return rounded({"NLL": float(loss), **found, "noise": noise})


def of_classes(mean, y):
    return {
        "Brier": float(calibration.brier_score(y, mean)),
        "ECE": float(calibration.expected_calibration_error(y, mean)),
        "error": float((mean.argmax(axis=-1) != y).mean()),
    }


def of_numbers(mean, variance, y):
    is_covered = np.abs(y - mean) <= REACH * np.sqrt(variance)
    return {
        "CRPS": float(calibration.gaussian_crps(y, mean, variance)),
        "coverage": float(is_covered.mean()),
        "RMSE": float(np.sqrt(np.square(y - mean).mean())),
    }


def rounded(found):
    return {
        name: value if value is None else round(value, 5)
        for name, value in found.items()
    }


def measured(name, rate, seed, folder, sizes):
    """By way, the figures of one network."""
    data = SETS[name]
    train, held, test = split(data, folder, seed)
    epochs = max(1, data.epochs // sizes.epochs_over)
    model = trained(data, train, rate, seed, epochs)
    found = {"weight scaling": weight_scaling(model, data, held, test)}
    if not rate:
        dropping, _ = kerasdrop.insert_dropout(model)
        way = Way(dropping, data, seed, sizes.samples)
        return {**found, "inserted and fitted": way.fitted(held, test)}
    way = Way(model, data, seed, sizes.samples)
    return {
        **found,
        "training rate": way.at(rate, held, test),
        "fitted rate": way.fitted(held, test),
    }


def measured_by_layer(name, rate, seed, folder, sizes):
    """By way, the figures of the same network with a rate for each layer."""
    data = SETS[name]
    train, held, test = split(data, folder, seed)
    epochs = max(1, data.epochs // sizes.epochs_over)
    model = trained(data, train, rate, seed, epochs)
    way = Way(model, data, seed, sizes.samples)
    return {"fitted by layer": way.fitted_by_layer(held, test)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--seeds", type=command_line.count, default=5)
    parser.add_argument(
        "--by-layer", action="store_true", help="a rate for each layer"
    )
    parser.add_argument("--samples", type=command_line.count, default=48)
    parser.add_argument("--quick", action="store_true", help="few epochs")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--show", action="store_true", help="into the docs")
    options = parser.parse_args()
    path = options.output or reporting.path(NAME)
    if not options.show:
        if options.quick and not options.output:
            parser.error("--quick needs an --output: it is no result")
        sizes = Sizes(options.samples, 20 if options.quick else 1)
        report = Report(path, sizes)
        for seed in range(options.seeds):
            for name in options.sets:
                for rate in RATES[1:] if options.by_layer else RATES:
                    part = f"{name}, rate {rate:g}, seed {seed}"
                    make = measured
                    if options.by_layer:
                        part, make = f"{part}, by layer", measured_by_layer
                    report.part(
                        part, make, name, rate, seed, options.data, sizes
                    )
    found = fitted_rates_tables.tables(reporting.kept(path))
    print(found)
    if options.show:
        markdown.write(__file__, found)


if __name__ == "__main__":
    main()
