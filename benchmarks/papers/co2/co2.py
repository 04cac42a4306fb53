"""The concentration of CO2 at Mauna Loa: how certain is dropout far from data?

    KERAS_BACKEND=jax python -m benchmarks.papers.co2.co2 --data DIR [--seeds 1]
        [--units 128] [--iterations 10000] [--quick] [--show]

DIR has `co2.csv`, the weekly record from 1958 to 2001 (Keeling & Whorf, 2004;
public domain) from the package statsmodels, of which nothing else is needed.
After `pip install statsmodels`, this prints DIR:

    python -c "import statsmodels.datasets.co2 as co2; print(co2.__path__[0])"

The script repeats the extrapolation of Gal & Ghahramani (2016), section 5.1 and
Figure 2. The networks are trained on the last 200 monthly means before 1992,
and compared with the ten years after them. (The authors had about 200 points
too, but it is not known which.) The networks are like theirs: five hidden
layers, ReLU or tanh, dropout after each of them at a rate of .1 or .2; initial
weights uniform within sqrt(3 / inputs), biases 0; half of the squared error of
all rows at once and a weight decay of 1e-6; SGD with a momentum of .9 and the
learning rate .01 (1 + 1e-4 t)^-.25 in iteration t. Theirs had 1024 units, a
million iterations, and twice the learning rate for biases. Months and
concentrations are standardised.

Each network predicts by weight scaling, and by the mean and the standard
deviation of 1000 independent Monte Carlo samples. No noise variance is added. A
Gaussian process of scikit-learn is fitted for comparison, by maximum
likelihood, with a squared exponential covariance and noise. Its standard
deviation is also that of the function without noise.

Finished networks are kept in `benchmarks/results/co2_<backend>.json` and not
trained again. `--show` trains nothing, and writes the tables into
docs/benchmarks/ and the plot into docs/images (with matplotlib).
"""

import argparse
import csv
import os
import pathlib
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers
from keras import ops
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels

import kerasdrop
from benchmarks.papers.co2 import co2_plots
from benchmarks.papers.co2 import co2_tables
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import plotting
from benchmarks.support import reporting
from benchmarks.support.resumable import Report

NAME = "co2"
FILE = "co2.csv"
TRAINING_MONTHS = 200
NUM_LAYERS, WEIGHT_DECAY = 5, 1e-6
PER_EPOCH = 1000  # updates in a call of Keras: one would be over at once
NETWORKS = (("relu", 0.1), ("tanh", 0.1), ("tanh", 0.2))


class Sizes(NamedTuple):
    """How much is done.

    Attributes:
        units: Integer, of a hidden layer.
        iterations: Integer, updates of a network.
        samples: Integer, Monte Carlo samples.
    """

    units: int
    iterations: int
    samples: int


class Data(NamedTuple):
    """Months (decimal years) and concentrations (ppm), arrays `(months,)`."""

    years: object
    ppm: object
    later_years: object
    later_ppm: object


def monthly(folder):
    """The months that have data, and their mean concentrations: two arrays."""
    path = folder / FILE
    if not path.exists():
        raise SystemExit(
            f"There is no {path}. It must have the lines `date,co2` and, for "
            "each week, e.g. `19580329,316.1`. Where it comes from: the "
            "package statsmodels, which has it as statsmodels/datasets/co2/"
            f"{FILE}."
        )
    weeks = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["co2"]:
                year, month = int(row["date"][:4]), int(row["date"][4:6])
                middle = year + (month - 0.5) / 12.0
                weeks.setdefault(middle, []).append(float(row["co2"]))
    years = np.array(sorted(weeks))
    return years, np.array([np.mean(weeks[year]) for year in years])


def split(years, ppm):
    first = np.searchsorted(years, co2_tables.END)
    training = slice(max(0, first - TRAINING_MONTHS), first)
    return Data(years[training], ppm[training], years[first:], ppm[first:])


def shown(data):
    """The months for the plot, a dict of lists."""
    return {
        "years": rounded(np.concatenate([data.years, data.later_years])),
        "ppm": rounded(np.concatenate([data.ppm, data.later_ppm])),
    }


@keras.saving.register_keras_serializable("kerasdrop_benchmarks")
class Inverse(keras.optimizers.schedules.LearningRateSchedule):
    """`first * (1 + 1e-4 * step) ** -0.25`."""

    def __init__(self, first=0.01):
        self.first = first

    def __call__(self, step):
        return self.first * (1.0 + 1e-4 * ops.cast(step, "float32")) ** -0.25

    def get_config(self):
        return {"first": self.first}


def network(activation, rate, units):
    """A compiled model, `(rows, 1)` to `(rows, 1)`, standardised."""
    decay = keras.regularizers.L2(WEIGHT_DECAY / 2.0)  # times the square

    def dense(units, activation=None):
        return layers.Dense(
            units,
            activation,
            kernel_initializer="lecun_uniform",  # within sqrt(3 / inputs)
            kernel_regularizer=decay,
            bias_regularizer=decay,
        )

    model = keras.Sequential([keras.Input((1,))])
    for _ in range(NUM_LAYERS):
        model.add(dense(units, activation))
        model.add(kerasdrop.layers.Dropout(rate))
    model.add(dense(1))
    model.compile(
        keras.optimizers.SGD(Inverse(), momentum=0.9),
        lambda y, predicted: 0.5 * ops.square(y - predicted),
    )
    return model


def train(model, x, y, iterations):
    """Makes updates, each with all rows."""
    per_epoch = min(iterations, PER_EPOCH)
    model.fit(
        np.tile(x, (per_epoch, 1)),
        np.tile(y, (per_epoch, 1)),
        len(x),
        epochs=iterations // per_epoch,
        shuffle=False,
        verbose=0,
    )


def of_network(activation, rate, seed, data, sizes):
    """The results of one network."""
    keras.utils.set_random_seed(seed)
    scale = _Scale(data)
    model = network(activation, rate, sizes.units)
    train(model, scale.x(data.years), scale.y(data.ppm), sizes.iterations)
    years = asked(data)
    x = scale.x(years)
    result = kerasdrop.mc_predict(
        model,
        x,
        sizes.samples,
        seed=seed,
        plan="independent",
        keep_samples=True,
        batch_size=len(x),
        verbose=0,
    )
    samples = scale.ppm(result.samples[..., 0])
    plain = scale.ppm(model.predict(x, batch_size=len(x), verbose=0)[:, 0])
    of_few = samples[:, : co2_tables.FEW].std(axis=1, ddof=1)
    sd = samples.std(axis=1, ddof=1)
    return {
        **figures(data, samples.mean(axis=1), sd),
        "plain": figures(data, plain, None),
        # How far the deviation of few samples is off.
        "few": rounded(np.sqrt(np.mean((of_few / sd - 1.0) ** 2))),
    }


class _Scale:
    """Standardises months and concentrations by those of the training."""

    def __init__(self, data):
        self._years = data.years.mean(), data.years.std()
        self._ppm = data.ppm.mean(), data.ppm.std()

    def x(self, years):
        mean, deviation = self._years
        return ((years - mean) / deviation).astype("float32")[:, None]

    def y(self, ppm):
        mean, deviation = self._ppm
        return ((ppm - mean) / deviation).astype("float32")[:, None]

    def ppm(self, outputs):
        mean, deviation = self._ppm
        return mean + deviation * outputs.astype("float64")


def asked(data):
    """All months that are predicted, one array: see `figures`."""
    far = data.years[-1] + np.array(co2_tables.DISTANCES)
    return np.concatenate([data.years, data.later_years, far, co2_tables.CURVE])


def figures(data, mean, sd):
    """What is to be known of a prediction of the months of `asked`.

    Args:
        mean: `(months,)`, ppm.
        sd: `(months,)`, ppm; None if a prediction has none.

    Returns:
        A dict: `rmse` in training and after it, `far` and `curve`, lists over
        `DISTANCES` and `CURVE`; with `sd` also `covered`, the part of the
        months after the training within two of them, `far_sd` and `curve_sd`.
    """
    lengths = [
        len(data.years),
        len(data.later_years),
        len(co2_tables.DISTANCES),
    ]
    ends = np.cumsum(lengths)
    trained, later, far, curve = np.split(mean, ends)
    found = {
        "rmse": rounded(
            [
                np.sqrt(np.mean((trained - data.ppm) ** 2)),
                np.sqrt(np.mean((later - data.later_ppm) ** 2)),
            ]
        ),
        "far": rounded(far),
        "curve": rounded(curve),
    }
    if sd is not None:
        _, later_sd, far_sd, curve_sd = np.split(sd, ends)
        is_covered = np.abs(later - data.later_ppm) <= 2.0 * later_sd
        found["covered"] = rounded(is_covered.mean())
        found["far_sd"] = rounded(far_sd)
        found["curve_sd"] = rounded(curve_sd)
    return found


def rounded(values):
    return np.round(np.asarray(values, "float64"), 3).tolist()


def of_process(data):
    """The results of the Gaussian process."""
    scale = _Scale(data)
    process = GaussianProcessRegressor(
        kernels.ConstantKernel() * kernels.RBF() + kernels.WhiteKernel(),
        n_restarts_optimizer=2,
        random_state=0,
    )
    process.fit(scale.x(data.years), scale.y(data.ppm)[:, 0])
    mean, sd = process.predict(scale.x(asked(data)), return_std=True)
    noise = process.kernel_.k2.noise_level
    # Not below 0, where rounding makes the difference of equals negative.
    sd = np.sqrt(np.maximum(sd**2 - noise, 0.0)) * data.ppm.std()
    return {
        **figures(data, scale.ppm(mean), sd),
        "length_scale_years": rounded(
            process.kernel_.k1.k2.length_scale * data.years.std()
        ),
        "noise_ppm": rounded(np.sqrt(noise) * data.ppm.std()),
    }


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=pathlib.Path, help=f"the folder that has {FILE}"
    )
    parser.add_argument("--seeds", type=command_line.count, default=1)
    parser.add_argument("--units", type=command_line.count, default=128)
    parser.add_argument("--iterations", type=command_line.count, default=10_000)
    parser.add_argument("--show", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="8 units, 20 iterations: a try"
    )
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    if options.quick and not options.output:
        parser.error("--quick needs an --output: it is no result")
    if not (options.data or options.show):
        parser.error(f"--data is missing: the folder that has {FILE}")
    if options.iterations % min(options.iterations, PER_EPOCH):
        parser.error(
            f"--iterations must be a multiple of {PER_EPOCH}, or less. "
            f"Received: {options.iterations}"
        )
    return options


def main():
    options = parse_arguments()
    path = options.output or reporting.path(NAME)
    if not options.show:
        run(options, path)
    results = reporting.kept(path)
    print(co2_tables.tables(results))
    if options.show:
        plotting.write(co2_plots.figures(results), results)
        markdown.write(__file__, co2_tables.tables(results))


def run(options, path):
    sizes = Sizes(options.units, options.iterations, 1000)
    if options.quick:
        sizes = Sizes(8, 20, 20)
    years, ppm = monthly(options.data)
    data = split(years, ppm)
    report = Report(path, sizes)
    report.part(co2_tables.DATA, lambda: shown(data))
    report.part(co2_tables.PROCESS, of_process, data)
    for seed in range(options.seeds):
        for activation, rate in NETWORKS:
            name = f"{activation} {rate:g}, seed {seed}"
            report.part(name, of_network, activation, rate, seed, data, sizes)


if __name__ == "__main__":
    main()
