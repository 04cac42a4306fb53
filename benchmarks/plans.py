"""How exact the sampling plans of `kerasdrop.MonteCarlo` are.

    KERAS_BACKEND=jax python benchmarks/plans.py [--quick]

Trains six small networks on data that come with scikit-learn, each until its
validation loss no longer falls, and asks each for its predictive distribution
with 16, 32 and 64 samples, by each plan, for many seeds. What comes out is
compared with a reference of 20,000 independent samples of other seeds, over
rows held out of training. For each network, number of samples and plan:

- mean: the squared error of the predictive mean with independent samples,
  over that with the plan. At 3, 32 samples of the plan are worth 96
  independent ones.
- variance: the same of the predictive variance.
- claimed: the square of the reported `standard_error` over the squared error
  of the mean that there is. It should be 1; above 1 the report is cautious.

Each with its standard error, from the spread over the seeds. The squared
errors are averaged over rows and outputs; what the reference's own error adds
to them is estimated from its parts and subtracted.

Writes the table to standard output and to
`benchmarks/results/plans_<backend>.json`, and says for each network whether 32
stratified samples have at most half of the squared error of 32 independent
ones.
"""

import argparse
import os
import pathlib
import time
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import _arguments
import _record
import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_diabetes
from sklearn.datasets import load_digits

import kerasdrop
from kerasdrop.layers import Dropout

PLANS = ("independent", "stratified", "shared")
NUM_SAMPLES = (16, 32, 64)
BAR = 2.0
BAR_SAMPLES = 32

# The reference is made in parts, which differ by its own error.
PART_SAMPLES = 2000
FIRST_SEED_OF_REFERENCE = 10**6
TEST_ROWS = 150

# Training ends when the validation loss has not fallen for so many epochs.
PATIENCE = 10
MOST_EPOCHS = 200


def digits():
    """scikit-learn's digits: images `(rows, 8, 8)` in [0, 1], and classes."""
    x, y = load_digits(return_X_y=True)
    return x.astype("float32").reshape(-1, 8, 8) / 16.0, y


def diabetes():
    """scikit-learn's diabetes: 10 features, and targets of variance 1."""
    x, y = load_diabetes(return_X_y=True)
    x, y = (
        (array - array.mean(axis=0)) / array.std(axis=0) for array in (x, y)
    )
    return x.astype("float32"), y.astype("float32")[:, None]


def dense(num_layers, units, rate):
    hidden = [layers.Flatten()]
    for _ in range(num_layers):
        hidden += [layers.Dense(units, activation="relu"), Dropout(rate)]
    return hidden


def convolutional():
    return [
        layers.Reshape((8, 8, 1)),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.SpatialDropout2D(0.25),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        Dropout(0.5),
    ]


def recurrent():
    """Reads an image row by row; one mask for a whole image."""
    return [layers.LSTM(64, dropout=0.2, recurrent_dropout=0.2)]


class Network(NamedTuple):
    """A network to be trained: its data and its layers before the last."""

    name: str
    data: object
    hidden: object


NETWORKS = (
    Network("digits, 2 x 256, rate .5", digits, lambda: dense(2, 256, 0.5)),
    Network("digits, 1 x 256, rate .2", digits, lambda: dense(1, 256, 0.2)),
    Network("diabetes, 1 x 50, rate .1", diabetes, lambda: dense(1, 50, 0.1)),
    Network("diabetes, 2 x 128, rate .3", diabetes, lambda: dense(2, 128, 0.3)),
    Network("digits, convolutional, rates .25, .5", digits, convolutional),
    Network("digits, LSTM 64, rates .2, .2", digits, recurrent),
)


def trained(network, epochs=None):
    """A trained model, the rows held out, and how well it does on them."""
    keras.utils.set_random_seed(0)
    x, y = network.data()
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[:TEST_ROWS], order[TEST_ROWS:]
    if y.ndim == 1:
        last = layers.Dense(10, activation="softmax")
        loss, metric = "sparse_categorical_crossentropy", "accuracy"
    else:
        last, loss, metric = layers.Dense(1), "mse", "mse"
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), *network.hidden(), last]
    )
    model.compile(optimizer="adam", loss=loss, metrics=[metric])
    stop = keras.callbacks.EarlyStopping(
        patience=PATIENCE, restore_best_weights=True
    )
    history = model.fit(
        x[train],
        y[train],
        epochs=epochs or MOST_EPOCHS,
        validation_split=0.1,
        callbacks=[] if epochs else [stop],
        verbose=0,
    )
    score = model.evaluate(x[test], y[test], verbose=0, return_dict=True)
    training = {
        "epochs": len(history.epoch) if epochs else stop.best_epoch + 1,
        f"test {metric}": round(score[metric], 4),
    }
    return model, x[test], training


def statistics(model, x, plan, num_samples, seeds):
    """Statistics of `x` for each seed, `(seeds, rows, outputs)`, by name."""
    predictive = kerasdrop.MonteCarlo(model, num_samples, plan=plan)
    results = []
    for seed in seeds:
        predictive.seed = seed
        results.append(predictive.predict(x, batch_size=len(x), verbose=0))
    return {
        name: np.stack([result[name] for result in results]).astype("float64")
        for name in ("mean", "variance", "standard_error")
    }


class Reference(NamedTuple):
    """A statistic from many samples, `(rows, outputs)`."""

    value: object
    squared_error: object

    @classmethod
    def of_parts(cls, parts):
        return cls(parts.mean(axis=0), parts.var(axis=0, ddof=1) / len(parts))

    def squared_error_of(self, values):
        """For each seed the squared error of `(seeds, rows, outputs)`."""
        squares = (values - self.value) ** 2 - self.squared_error
        return squares.mean(axis=(1, 2))


def ratio(numerators, denominators):
    """The ratio of two means over the seeds, and its standard error."""
    above, below = numerators.mean(), denominators.mean()
    # To first order the ratio moves with the difference of the relative
    # deviations, in which what both have in common cancels.
    deviations = numerators / above - denominators / below
    error = deviations.std(ddof=1) / len(deviations) ** 0.5
    value = above / below
    return {
        "ratio": round(float(value), 3),
        "standard error": round(float(value * error), 3),
    }


def measured(network, num_seeds, num_parts, epochs):
    """The rows of the table of one network."""
    start = time.perf_counter()
    model, x, training = trained(network, epochs)
    print(f"{network.name}: {training}", flush=True)
    seeds = range(num_seeds)
    parts = statistics(
        model,
        x,
        "independent",
        PART_SAMPLES,
        range(FIRST_SEED_OF_REFERENCE, FIRST_SEED_OF_REFERENCE + num_parts),
    )
    references = {
        name: Reference.of_parts(parts[name]) for name in ("mean", "variance")
    }
    rows = []
    for num_samples in NUM_SAMPLES:
        errors = {}
        for plan in PLANS:
            found = statistics(model, x, plan, num_samples, seeds)
            errors[plan] = {
                name: reference.squared_error_of(found[name])
                for name, reference in references.items()
            }
            claimed = (found["standard_error"] ** 2).mean(axis=(1, 2))
            row = {
                "network": network.name,
                "training": training,
                "num_samples": num_samples,
                "plan": plan,
                "squared error of the mean": float(errors[plan]["mean"].mean()),
                **{
                    name: ratio(errors["independent"][name], errors[plan][name])
                    for name in references
                },
                "claimed": ratio(claimed, errors[plan]["mean"]),
            }
            show(row)
            rows.append(row)
    print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def bars(rows):
    """The bar of each network, and whether it holds."""
    for row in rows:
        if row["plan"] == "stratified" and row["num_samples"] == BAR_SAMPLES:
            yield {
                "bar": f"{row['network']}: independent / stratified at "
                f"{BAR_SAMPLES} samples at least {BAR}",
                "value": row["mean"]["ratio"],
                "standard error": row["mean"]["standard error"],
                "holds": row["mean"]["ratio"] >= BAR,
            }


def show(row):
    figures = "".join(
        f"   {name} {row[name]['ratio']:6.2f} +- "
        f"{row[name]['standard error']:.2f}"
        for name in ("mean", "variance", "claimed")
    )
    print(f"  {row['num_samples']:2} {row['plan']:12}{figures}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=_arguments.count, default=100)
    parser.add_argument(
        "--parts", type=_arguments.count, default=10, help="of 2000 samples"
    )
    parser.add_argument(
        "--epochs",
        type=_arguments.count,
        help="train so long, not until it is enough",
    )
    parser.add_argument(
        "--quick", action="store_true", help="10 seeds, 2 parts: a try"
    )
    parser.add_argument("--output", type=pathlib.Path, default=None)
    options = parser.parse_args()
    if (options.quick or options.epochs) and not options.output:
        parser.error("--quick and --epochs need an --output: no result")
    if options.quick:
        options.seeds, options.parts = 10, 2
    rows = [
        row
        for network in NETWORKS
        for row in measured(
            network, options.seeds, options.parts, options.epochs
        )
    ]
    report = {
        **_record.taken("scikit-learn"),
        "unit": "squared error of independent samples over that of the plan",
        "seeds": options.seeds,
        "reference": PART_SAMPLES * options.parts,
        "test_rows": TEST_ROWS,
        "rows": rows,
        "bars": list(bars(rows)),
    }
    print(f"{_record.BACKEND}, {report['versions']}, {report['machine']}")
    _record.show_bars(report["bars"])
    _record.keep("plans", report, options.output)


if __name__ == "__main__":
    main()
