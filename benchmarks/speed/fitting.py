"""What `fit_rates` costs compared with one `mc_predict`.

    KERAS_BACKEND=torch python -m benchmarks.speed.fitting [--rounds 5] [--show]

Twelve rates are tried for a network of `keras.applications` with dropout before
its last layer, as in transfer learning. The layers before it run once for all
rates. Both functions take turns, round after round, on the same rows, samples
and batches, after a first call of each that compiles. The ratio is the median
of the rounds' ratios of processor time, which other programs on the machine
disturb less than wall-clock time.

The script adds to `benchmarks/results/fitting_<backend>.json`; it skips
networks that are there already. `--show` writes the results of all backends
into docs/fitting.md.
"""

import argparse
import os
import pathlib
import statistics
import time
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import applications
from keras import layers

import kerasdrop
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import reporting
from benchmarks.support import resumable

NAME = "fitting"
# What twelve rates may cost, in predictions.
LIMIT = 1.5
NETWORKS = {"MobileNetV2": (96, 256), "ResNet50": (96, 64)}
QUICK = (32, 8)


class Sizes(NamedTuple):
    """What all parts of a report are made with."""

    samples: int
    rates: int


def network(name, size):
    keras.utils.set_random_seed(0)
    base = getattr(applications, name)(
        input_shape=(size, size, 3),
        include_top=False,
        pooling="avg",
        weights=None,
    )
    h = layers.Dropout(0.2)(base.output)
    return keras.Model(base.input, layers.Dense(10, activation="softmax")(h))


def timed(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def measured(name, sizes, rounds, is_quick):
    """Seconds of both, and their ratio."""
    size, num_rows = QUICK if is_quick else NETWORKS[name]
    model = network(name, size)
    x = np.random.default_rng(0).normal(size=(num_rows, size, size, 3))
    x, y = x.astype("float32"), np.arange(num_rows) % 10
    same = {
        "num_samples": sizes.samples,
        "seed": 0,
        "kind": "probabilities",
        "verbose": 0,
        "verify": False,
    }
    rates = np.linspace(0.05, 0.9, sizes.rates)

    def one():
        kerasdrop.mc_predict(model, x, y=y, rate=0.3, **same)

    def fit():
        kerasdrop.fit_rates(model, x, y, rates=rates, **same)

    both = {"mc_predict": one, "fit_rates": fit}
    for function in both.values():
        function()  # compiles
    found = {name: [] for name in both}
    for _ in range(rounds):
        for name, function in both.items():
            found[name].append(timed(function))
    ratios = [
        fitted / predicted
        for predicted, fitted in zip(found["mc_predict"], found["fit_rates"])
    ]
    return {
        "pixels": size,
        "rows": num_rows,
        "rounds": rounds,
        "CPU seconds": {
            name: round(statistics.median(values), 3)
            for name, values in found.items()
        },
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in sorted(ratios)],
    }


def bars(parts):
    for name, part in parts.items():
        yield {
            "bar": f"{name}: fit_rates / mc_predict at most {LIMIT}",
            "value": part["ratio"],
            "holds": part["ratio"] <= LIMIT,
        }


def tables(reports):
    """The table of the reports, by backend, and what misses the limit."""
    rows, missed = [], []
    for report in reports:
        for name, part in report["parts"].items():
            seconds = part["CPU seconds"]
            low, *_, high = part["ratios"]
            rows.append(
                [
                    name,
                    str(part["rows"]),
                    report["backend"],
                    f"{seconds['mc_predict']:.2f}",
                    f"{seconds['fit_rates']:.2f}",
                    f"{part['ratio']:.2f} ({low:.2f} to {high:.2f})",
                ]
            )
        missed += [
            f"{report['backend']}, {bar['bar']}, is {bar['value']}"
            for bar in bars(report["parts"])
            if not bar["holds"]
        ]
    header = ["network", "rows", "backend", "mc_predict, s", "fit_rates, s"]
    verdict = "No ratio is above 1.5."
    if missed:
        verdict = f"Above 1.5: {'; '.join(missed)}."
    lines = [
        markdown.markdown([*header, "ratio, median (range)"], rows),
        "",
        verdict,
        "",
        *map(markdown.source, reports),
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS]
    )
    parser.add_argument("--rounds", type=command_line.count, default=5)
    parser.add_argument("--quick", action="store_true", help="small images")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--show", action="store_true", help="into the docs")
    options = parser.parse_args()
    if options.show:
        return markdown.write(__file__, tables(reporting.of_all_backends(NAME)))
    if options.quick and not options.output:
        parser.error("--quick needs an --output: it is no result")
    sizes = Sizes(48, 12)
    path = options.output or reporting.path(NAME)
    report = resumable.Report(path, sizes)
    for name in options.networks:
        part = report.part(
            name, measured, name, sizes, options.rounds, options.quick
        )
        print(part)
    reporting.show_bars(bars(reporting.kept(path)["parts"]))
    return None


if __name__ == "__main__":
    main()
