"""Does the uncertainty of dropout notice that the data have changed?

    python -m benchmarks.shift.shift [--sets digits mnist] [--data DIR]
        [--seeds 5] [--quick] [--show]

The script trains classifiers on the digits 0 to 7, of scikit-learn's images and
of the MNIST images in DIR. It tests them on images of these digits as they are,
rotated, and with noise, and on images of the unseen digits 8 and 9. The
networks have two hidden ReLU layers and are trained with Adam, for several
seeds each, with

- no dropout,
- dropout at a constant rate of .5,
- a rate that falls from .7 to .3, or rises from .3 to .7, which has the same
  mean.

Dropout networks predict once with weight scaling and once with the mean of
`NUM_SAMPLES` Monte Carlo samples, both at the rate at the end of the training.
For each prediction the script reports:

- the accuracy, and the errors of the probabilities: negative log-likelihood
  (NLL, nats), expected calibration error (ECE, 15 bins), Brier score;
- the area under the ROC curve for telling shifted images from the others, by
  the entropy of the prediction and, for Monte Carlo samples, by the mutual
  information; .5 is chance.

Nothing was tuned. The networks, epochs and rates were written down before the
first run, and each network is tested once.

The script writes `benchmarks/results/shift_<backend>.json`. `--show` trains
nothing; it writes the tables into `docs/benchmarks/` and draws NLL, ECE and
AUROC into `docs/images` (with matplotlib).
"""

import argparse
import os
import pathlib
import time
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers
from scipy.ndimage import rotate
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import kerasdrop
from benchmarks.shift import shift_plots
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import mnist_data
from benchmarks.support import plotting
from benchmarks.support import reporting
from kerasdrop import calibration
from kerasdrop import measures
from kerasdrop import schedules
from kerasdrop.layers import Dropout

NAME = "shift"
SEEN = 8  # the digits below it are trained on
NUM_SAMPLES = 50
BATCH_SIZE = 100


class Data(NamedTuple):
    """A set of images, `(rows, side, side)` in [0, 1]: a function and its use.

    `load` takes the data folder, and returns training data and test data.
    """

    load: object
    units: int
    epochs: int
    test_rows: int


def digits(folder):
    images, labels = load_digits(return_X_y=True)
    images = images.astype("float32").reshape(-1, 8, 8) / 16.0
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.4, stratify=labels, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def mnist(folder):
    return tuple(
        (images.reshape(-1, 28, 28), labels)
        for images, labels in mnist_data.load(folder)
    )


SETS = {
    "digits": Data(digits, units=256, epochs=50, test_rows=1000),
    "mnist": Data(mnist, units=512, epochs=5, test_rows=2000),
}

TRAININGS = {
    "no dropout": lambda updates: None,
    "rate .5": lambda updates: 0.5,
    "rate .7 to .3": lambda updates: schedules.Linear(0.7, 0.3, updates),
    "rate .3 to .7": lambda updates: schedules.Linear(0.3, 0.7, updates),
}
SCALED, DRAWN = "weight scaling", "Monte Carlo"


def rotated(images, degrees):
    turned = rotate(images, degrees, axes=(1, 2), reshape=False, order=1)
    return turned.clip(0.0, 1.0)


def noisy(images, deviation):
    noise = np.random.default_rng(0).normal(0.0, deviation, images.shape)
    return (images + noise).clip(0.0, 1.0).astype("float32")


SHIFTS = {
    "none": lambda images: images,
    "rotated by 30": lambda images: rotated(images, 30.0),
    "rotated by 60": lambda images: rotated(images, 60.0),
    "noise of .5": lambda images: noisy(images, 0.5),
}
UNSEEN = "unseen digits"


def questions(test, num_rows):
    """Images, and labels where there are any, of each kind."""
    images, labels = test
    is_seen = labels < SEEN
    seen, true = images[is_seen][:num_rows], labels[is_seen][:num_rows]
    asked = {name: (shift(seen), true) for name, shift in SHIFTS.items()}
    return {**asked, UNSEEN: (images[~is_seen][:num_rows], None)}


def trained(rate_of, units, data, epochs, seed):
    """A network that returns logits, and the seconds that it took."""
    images, labels = data
    updates = epochs * -(-len(images) // BATCH_SIZE)
    rate = rate_of(updates)
    keras.utils.set_random_seed(seed)
    stack = [keras.Input(images.shape[1:]), layers.Flatten()]
    for _ in range(2):
        stack.append(layers.Dense(units, activation="relu"))
        if rate is not None:
            stack.append(Dropout(rate))
    model = keras.Sequential([*stack, layers.Dense(SEEN)])
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    start = time.perf_counter()
    model.fit(images, labels, BATCH_SIZE, epochs=epochs, verbose=0)
    return model, time.perf_counter() - start


class Answer(NamedTuple):
    """Probabilities, `(rows, classes)`, and uncertainties by name."""

    probabilities: object
    uncertainties: dict


def scaled(model, images):
    logits = model.predict(images, batch_size=500, verbose=0)
    # In float64 a likelihood that is small is not yet 0.
    probabilities = softmax(logits.astype("float64"), axis=-1)
    return Answer(probabilities, {"entropy": measures.entropy(probabilities)})


def drawn(model, images, seed):
    result = kerasdrop.mc_predict(
        model,
        images,
        num_samples=NUM_SAMPLES,
        seed=seed,
        kind="logits",
        batch_size=500,
        verbose=0,
    )
    return Answer(
        result.mean,
        {
            "entropy": result.predictive_entropy,
            "mutual information": result.mutual_information,
        },
    )


def scores(answer, labels, unshifted):
    """What is to be known of an answer: a dict of numbers."""
    found = {}
    if labels is not None:
        p = answer.probabilities
        found = {
            "accuracy": np.mean(np.argmax(p, axis=-1) == labels),
            "NLL": calibration.negative_log_likelihood(labels, p),
            "ECE": calibration.expected_calibration_error(labels, p),
            "Brier": calibration.brier_score(labels, p),
        }
    for name, values in answer.uncertainties.items():
        if answer is not unshifted:
            usual = unshifted.uncertainties[name]
            detection = calibration.ood_detection(usual, values, interval=None)
            found[f"AUROC of {name}"] = detection.auroc
    return {name: round(float(value), 5) for name, value in found.items()}


def measured(name, seeds, folder, quick):
    """The records of a set of images."""
    data = SETS[name]
    train, test = data.load(folder)
    is_seen = train[1] < SEEN
    train = tuple(part[is_seen] for part in train)
    asked = questions(test, 100 if quick else data.test_rows)
    for training, rate_of in TRAININGS.items():
        for seed in range(seeds):
            model, seconds = trained(
                rate_of, data.units, train, 1 if quick else data.epochs, seed
            )
            ways = {SCALED: scaled}
            if training != "no dropout":
                ways[DRAWN] = lambda *given, seed=seed: drawn(*given, seed)
            for way, predict in ways.items():
                answers = {
                    shift: predict(model, images)
                    for shift, (images, _) in asked.items()
                }
                for shift, answer in answers.items():
                    yield {
                        "set": name,
                        "training": training,
                        "way": way,
                        "shift": shift,
                        "seed": seed,
                        **scores(answer, asked[shift][1], answers["none"]),
                    }
            print(f"{name}, {training}, seed {seed}: {seconds:.0f} s")


COLUMNS = {
    "accuracy": 4,
    "NLL": 3,
    "ECE": 3,
    "Brier": 3,
    "AUROC of entropy": 3,
    "AUROC of mutual information": 3,
}


def tables(report):
    """The tables of what there is and the places of its plots, a string."""
    parts = []
    for name in SETS:
        records = [row for row in report["records"] if row["set"] == name]
        if records:
            num_seeds = len({row["seed"] for row in records})
            parts += [
                f"### {name}, mean ± standard deviation of {num_seeds} seeds",
                plotting.link(f"shift_{name}", f"{name} under each shift"),
                table(records),
                f"### {name}, {DRAWN} less {SCALED}, ± standard error",
                changes(records),
            ]
    return "\n\n".join([*parts, markdown.source(report)])


def table(records):
    groups = {}
    for row in records:
        way = "" if row["training"] == "no dropout" else f", {row['way']}"
        key = (row["shift"], row["training"] + way)
        groups.setdefault(key, []).append(row)
    lines = [
        [
            shift,
            network,
            *(
                _cell(groups[shift, network], *column)
                for column in COLUMNS.items()
            ),
        ]
        for shift, network in sorted(groups, key=lambda key: _place(key[0]))
    ]
    return markdown.markdown(["shift", "network", *COLUMNS], lines)


def _place(shift):
    return [*SHIFTS, UNSEEN].index(shift)


def _cell(rows, column, digits):
    values = [row[column] for row in rows if column in row]
    return markdown.spread(values, digits) if values else ""


def changes(records):
    """What drawing does to a network: paired over the seeds."""
    columns = [name for name in COLUMNS if "information" not in name]
    lines = []
    for shift in (*SHIFTS, UNSEEN):
        for training in TRAININGS:
            ways = {
                way: [
                    row
                    for row in records
                    if (row["shift"], row["training"], row["way"])
                    == (shift, training, way)
                ]
                for way in (SCALED, DRAWN)
            }
            if ways[DRAWN]:
                cells = [
                    markdown.change(
                        [row[name] for row in ways[DRAWN]],
                        [row[name] for row in ways[SCALED]],
                        COLUMNS[name],
                    )
                    if name in ways[DRAWN][0]
                    else ""
                    for name in columns
                ]
                lines.append([shift, training, *cells])
    return markdown.markdown(["shift", "network", *columns], lines)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["digits"])
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        help=f"the folder that has {mnist_data.FILE}",
    )
    parser.add_argument("--seeds", type=command_line.count, default=5)
    parser.add_argument("--show", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="1 epoch, 100 images: a try"
    )
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    if options.quick and not options.output:
        parser.error("--quick needs an --output: it is no result")
    if "mnist" in options.sets and not (options.data or options.show):
        parser.error("--data is missing: the folder that has mnist.npz")
    return options


def main():
    options = parse_arguments()
    if "mnist" in options.sets and not options.show:
        mnist_data.load(options.data)  # before the digits are trained on
    path = options.output or reporting.path(NAME)
    report = {"records": []}
    if path.exists() or options.show:
        report = reporting.kept(path)
    if not options.show:
        for name in options.sets:
            found = measured(name, options.seeds, options.data, options.quick)
            others = [row for row in report["records"] if row["set"] != name]
            report = {
                **reporting.taken("scikit-learn", "scipy"),
                "samples": NUM_SAMPLES,
                "records": [*others, *found],
            }
            reporting.keep(NAME, report, options.output)
    print(tables(report))
    if options.show:
        plotting.write(shift_plots.figures(report), report)
        markdown.write(__file__, tables(report))


if __name__ == "__main__":
    main()
