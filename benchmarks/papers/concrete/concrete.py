"""Concrete dropout on the synthetic data of its paper: learned rates.

    KERAS_BACKEND=jax python -m benchmarks.papers.concrete.concrete
        [--repeats 3] [--trainings learned fixed longer] [--quick] [--show]

The script repeats the experiment of the notebook that Gal, Hron & Kendall
(2017) released. The data are N rows of y = 2 x + 8 with normal noise of
standard deviation 1. The network has three hidden layers of 1024 ReLU units,
heads for the mean and the logarithm of the variance, and Concrete dropout
before all five layers (initial rate .1, length scale 1e-4). It is trained with
Adam and batches of 20, and predicts each of 1000 new rows with 20 passes. The
trainings are:

- learned: the epochs of the notebook. Their number falls with N, and so does
  that of the updates.
- fixed: the same, with `Dropout` at a constant rate of .1.
- longer: like "learned", but with about 2000 updates where the notebook made
  fewer, so that the trainings differ in N only.

As in the notebook, it reports, in the unit of y: the root mean squared error
(RMSE) of the mean of the passes against the noisy y; the learned rates; the
aleatoric standard deviation, from the variance exp(mean of the logarithms); and
the epistemic one, from the variance of the means over the passes.

Finished trainings are kept in `benchmarks/results/concrete_<backend>.json` and
not repeated. `--show` trains nothing, and writes the tables into
docs/benchmarks/.
"""

import argparse
import os
import pathlib
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers
from keras import ops

import kerasdrop
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import reporting
from benchmarks.support.resumable import Report
from kerasdrop.layers import ConcreteDropout
from kerasdrop.layers import Dropout

NAME = "concrete"
LENGTH_SCALE, FIRST_RATE, BATCH_SIZE = 1e-4, 0.1, 20
NUM_SAMPLES, TEST_ROWS = 20, 1000

# By training, the epochs by number of rows.
_NOTEBOOK = {10: 2000, 25: 1000, 50: 500, 100: 200, 1000: 20, 10_000: 2}
EPOCHS = {
    "learned": _NOTEBOOK,
    "fixed": _NOTEBOOK,
    "longer": {50: 667, 100: 400, 1000: 40, 10_000: 4},
}
QUICK = 50  # the number of rows of a try
# What the notebook printed: RMSE, rates before the second and the third hidden
# layer, aleatoric and epistemic standard deviation.
PUBLISHED = {
    10: (1.823, (0.404, 0.404), 1.321, 1.092),
    25: (1.175, (0.404, 0.403), 1.357, 0.820),
    50: (1.152, (0.326, 0.325), 1.270, 0.745),
    100: (1.145, (0.236, 0.236), 1.247, 0.668),
    1000: (1.065, (0.231, 0.225), 1.321, 0.652),
    10_000: (1.205, (0.137, 0.127), 1.229, 0.542),
}


class Sizes(NamedTuple):
    """How much is done.

    Attributes:
        units: Integer, of a hidden layer.
        epochs_over: Integer, what the epochs are divided by.
    """

    units: int
    epochs_over: int


def data(num_rows, generator):
    x = generator.normal(size=(num_rows, 1)).astype("float32")
    noise = generator.normal(size=(num_rows, 1)).astype("float32")
    return x, 2.0 * x + 8.0 + noise


def negative_log_likelihood(y, outputs):
    """Twice that of a normal distribution, without a constant."""
    mean, log_variance = ops.split(outputs, 2, axis=-1)
    return ops.exp(-log_variance) * (y - mean) ** 2 + log_variance


def network(units, num_rows, is_learned):
    """A compiled model, `(rows, 1)` to `(rows, 2)`: mean, log-variance."""

    def dropping(layer, x):
        if is_learned:
            # For a loss of twice the negative log-likelihood of a row.
            regularizers = {
                "weight_regularizer": LENGTH_SCALE**2 / num_rows,
                "dropout_regularizer": 2.0 / num_rows,
            }
            return ConcreteDropout(layer, FIRST_RATE, **regularizers)(x)
        decay = LENGTH_SCALE**2 / (num_rows * (1.0 - FIRST_RATE))
        layer.kernel_regularizer = keras.regularizers.L2(decay)
        return layer(Dropout(FIRST_RATE)(x))

    x = inputs = keras.Input((1,))
    for _ in range(3):
        x = dropping(layers.Dense(units, activation="relu"), x)
    heads = [dropping(layers.Dense(1), x) for _ in range(2)]
    model = keras.Model(inputs, layers.Concatenate()(heads))
    model.compile("adam", negative_log_likelihood)
    return model


def batches(x, y, epochs, generator):
    """As `fit` would take them, but without what an epoch costs it."""
    for _ in range(epochs):
        order = generator.permutation(len(x))
        for start in range(0, len(x), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            yield x[rows], y[rows]


def figures(samples, y):
    """What is to be known of the samples of both heads, a dict.

    Args:
        samples: `(rows, samples, 2)`, means and logarithms of variances.
        y: `(rows, 1)`.
    """
    means, log_variances = samples[..., 0], samples[..., 1]
    of_rows = {
        "rmse": (means.mean(axis=1) - y[:, 0]) ** 2,
        "aleatoric": np.exp(log_variances.mean(axis=1)),
        "epistemic": means.var(axis=1),
    }
    return {
        name: round(float(np.sqrt(np.mean(squares))), 4)
        for name, squares in of_rows.items()
    }


def measured(training, num_rows, repeat, sizes):
    """The results of one network."""
    keras.utils.set_random_seed(repeat)
    # The trainings of a repeat have the same rows.
    generator = np.random.default_rng([repeat, num_rows])
    x, y = data(num_rows, generator)
    x_test, y_test = data(TEST_ROWS, generator)
    epochs = max(1, EPOCHS[training][num_rows] // sizes.epochs_over)
    updates = epochs * -(-num_rows // BATCH_SIZE)
    model = network(sizes.units, num_rows, training != "fixed")
    model.fit(
        batches(x, y, epochs, generator),
        steps_per_epoch=updates,
        shuffle=False,
        verbose=0,
    )
    result = kerasdrop.mc_predict(
        model,
        x_test,
        NUM_SAMPLES,
        seed=repeat,
        kind="regression",  # of both heads
        # As in the notebook: a pass knows nothing of the others.
        plan="independent",
        keep_samples=True,
        batch_size=TEST_ROWS,
        verbose=0,
    )
    rates = kerasdrop.get_rates(model).values()
    return {
        "updates": updates,
        "rates": [round(rate, 4) for rate in rates],
        **figures(result.samples, y_test),
    }


def tables(report):
    """The tables of what there is, a string."""
    parts = []
    for training, title in {
        "learned": "Learned rates, the epochs of the notebook",
        "longer": "Learned rates, 2000 updates",
        "fixed": "A fixed rate of .1, the epochs of the notebook",
    }.items():
        rows = list(_rows(report["parts"], training))
        if rows:
            parts += [
                f"### {title}",
                markdown.markdown(_header(training), rows),
            ]
    seconds = sum(part["seconds"] for part in report["parts"].values())
    note = markdown.source(report).rstrip(").")
    return "\n\n".join([*parts, f"{note}, {seconds / 60.0:.0f} minutes.)"])


_RATES = {  # in a table, and their places in `rates`
    "rates before hidden 2, 3": slice(1, 3),
    "before hidden 1": slice(0, 1),
    "before the heads": slice(3, 5),
}
_FIGURES = {"RMSE": "rmse", "aleatoric": "aleatoric", "epistemic": "epistemic"}


def _header(training):
    columns = ["N", "updates", "repeats", *_FIGURES]
    if training != "fixed":
        columns += _RATES
    if training == "learned":
        names = [*_FIGURES, "rates before hidden 2, 3"]
        columns += [f"notebook: {name}" for name in names]
    return columns


def _rows(parts, training):
    for num_rows in EPOCHS[training]:
        found = [
            part
            for name, part in parts.items()
            if name.startswith(f"{training} {num_rows} ")
        ]
        if not found:
            continue
        row = [f"{num_rows:,}", f"{found[0]['updates']:,}", str(len(found))]
        row += [
            markdown.spread([part[figure] for part in found], 3)
            for figure in _FIGURES.values()
        ]
        if training != "fixed":
            rates = np.array([part["rates"] for part in found])
            row += [
                markdown.spread(rates[:, place].mean(axis=1), 3)
                for place in _RATES.values()
            ]
        if training == "learned":
            rmse, rates, *deviations = PUBLISHED[num_rows]
            theirs = [rmse, *deviations, np.mean(rates)]
            row += [f"{value:.3f}" for value in theirs]
        yield row


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=command_line.count, default=3)
    parser.add_argument(
        "--trainings", nargs="+", choices=EPOCHS, default=list(EPOCHS)
    )
    parser.add_argument("--show", action="store_true")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="32 units, few epochs and rows: a try",
    )
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    if options.quick and not options.output:
        parser.error("--quick needs an --output: it is no result")
    return options


def main():
    options = parse_arguments()
    path = options.output or reporting.path(NAME)
    if not options.show:
        sizes = Sizes(32, 100) if options.quick else Sizes(1024, 1)
        report = Report(path, sizes)
        for repeat in range(options.repeats):
            for training in options.trainings:
                for num_rows in EPOCHS[training]:
                    if options.quick and num_rows != QUICK:
                        continue
                    report.part(
                        f"{training} {num_rows} {repeat}",
                        measured,
                        training,
                        num_rows,
                        repeat,
                        sizes,
                    )
    results = reporting.kept(path)
    print(tables(results))
    if options.show:
        markdown.write(__file__, tables(results))


if __name__ == "__main__":
    main()
