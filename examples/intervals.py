"""Intervals for a measured target: too narrow at first, then corrected.

The script trains a small network with dropout on scikit-learn's diabetes data
(442 patients with 10 features; the target is the progression of the disease
after a year). The Monte Carlo intervals of 90 % contain the uncertainty of the
network only, and cover far fewer targets. 110 patients that the network never
saw serve to correct them, in these ways:

- one factor for all variances (`fit_variance_scale`),
- isotonic recalibration of the quantiles (`fit_quantiles`),
- conformal intervals, around the mean and around two quantiles
  (`fit_conformal_intervals`).

On 110 other patients, the script measures coverage, mean width and interval
score (lower is better, in the unit of the target), averaged over random splits.
Only the conformal intervals have a guarantee: a coverage of at least 90 %, on
average over splits.

    python examples/intervals.py [--splits 5] [--quick] [--output output]

KERAS_BACKEND chooses the backend. On a backend, the same seed gives the same
numbers. The figure shows the intervals of some patients before and after the
correction, and the coverage against the level.
"""

import argparse
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes

import kerasdrop
from kerasdrop import calibration

LEVEL, HELD_OUT, RATE = 0.9, 110, 0.1
ENDS = (0.05, 0.95)  # the quantiles between which 90 % lie


def split(seed):
    """Patients for training, calibration and evaluation."""
    x, y = load_diabetes(return_X_y=True)
    x = (x / x.std(axis=0)).astype("float32")
    order = np.random.default_rng(seed).permutation(len(x))
    parts = np.split(order, [len(x) - 2 * HELD_OUT, len(x) - HELD_OUT])
    return [(x[part], y[part, None].astype("float32")) for part in parts]


def build_model(y):
    """A network with outputs in the scale of the targets."""
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(64, activation="relu"),
            kerasdrop.layers.Dropout(RATE),
            keras.layers.Dense(64, activation="relu"),
            kerasdrop.layers.Dropout(RATE),
            keras.layers.Dense(1),
            keras.layers.Rescaling(float(y.std()), float(y.mean())),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mse")
    return model


def ask(model, x, seed):
    return kerasdrop.mc_predict(
        model,
        x,
        num_samples=48,
        seed=seed,
        kind="regression",
        quantiles=ENDS,
        batch_size=HELD_OUT,
        verbose=0,
    )


def repairs(y, valid):
    """Functions of a prediction and a level, by name: pairs of ends."""
    scaling = calibration.fit_variance_scale(y, valid)
    recalibration = calibration.fit_quantiles(y, valid)

    def recalibrated(test, level):
        ends = (0.5 - 0.5 * level, 0.5 + 0.5 * level)
        found = recalibration(test, quantiles=ends)
        return found[:, 0], found[:, 1]

    def conformal(method):
        intervals = calibration.fit_conformal_intervals(y, valid, method=method)
        return lambda test, level: intervals(test, level=level)

    return {
        "as predicted": lambda test, level: calibration.gaussian_interval(
            test.mean, test.variance, level
        ),
        "one factor": lambda test, level: calibration.gaussian_interval(
            test.mean, scaling(test), level
        ),
        "isotonic": recalibrated,
        "conformal, absolute": conformal("absolute"),
        "conformal, scaled": conformal("scaled"),
        "conformal, quantiles": conformal("quantiles"),
    }


def scores(y, lower, upper):
    return (
        calibration.interval_coverage(y, lower, upper),
        np.mean(upper - lower),
        calibration.interval_score(y, lower, upper, LEVEL),
    )


def draw_figure(path, y, test, repaired):
    """Intervals of the first patients, and coverage against level."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 4), layout="constrained"
    )
    shown = np.argsort(test.mean[:40, 0])
    places = np.arange(len(shown))
    for name, color, width in (
        ("conformal, absolute", "tab:blue", 5),
        ("as predicted", "tab:orange", 2),
    ):
        lower, upper = (
            each[:40, 0][shown] for each in repaired[name](test, LEVEL)
        )
        left.vlines(places, lower, upper, color, linewidth=width, label=name)
    left.plot(places, y[:40, 0][shown], "k.", label="target")
    left.set(
        title=f"Intervals of {LEVEL:.0%}",
        xlabel="patient, by predicted mean",
        ylabel="progression",
    )
    left.legend()
    levels = np.linspace(0.1, 0.95, 18)
    for name, intervals in repaired.items():
        if name == "conformal, quantiles":
            continue  # made of the quantiles of one level
        covered = [
            calibration.interval_coverage(y, *intervals(test, level))
            for level in levels
        ]
        right.plot(levels, covered, marker=".", label=name)
    right.axline((0, 0), slope=1.0, color="0.6", linestyle="--")
    right.set(
        title="Coverage, of one split",
        xlabel="level",
        ylabel="part of the targets",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="1 split, 20 epochs: a try"
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("output")
    )
    return parser.parse_args()


def main():
    options = parse_arguments()
    splits, epochs = (1, 20) if options.quick else (options.splits, 60)
    found = {}
    for seed in range(splits):
        keras.utils.set_random_seed(seed)
        train, valid, test = split(seed)
        model = build_model(train[1])
        model.fit(*train, batch_size=32, epochs=epochs, verbose=0)
        result = ask(model, test[0], seed)
        repaired = repairs(valid[1], ask(model, valid[0], seed))
        for name, intervals in repaired.items():
            ends = intervals(result, LEVEL)
            found.setdefault(name, []).append(scores(test[1], *ends))
    print(f"Intervals of {LEVEL:.0%}, mean of {splits} splits")
    print(f"{'':24}{'coverage':>10}{'width':>8}{'score':>8}")
    for name, rows in found.items():
        coverage, width, score = np.mean(rows, axis=0)
        print(f"{name:24}{coverage:10.3f}{width:8.1f}{score:8.1f}")
    figure = options.output / "intervals.png"
    draw_figure(figure, test[1], result, repaired)
    print(f"Figure: {figure}")


if __name__ == "__main__":
    main()
