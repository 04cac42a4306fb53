"""Times a whole `mc_predict` beside one prediction of as many rows.

    KERAS_BACKEND=jax python -m benchmarks.speed.call_cost [--show]

In one run, 50 samples each, taking turns round after round, so that a busy
machine disturbs both alike; a ratio is the median of the rounds' ratios:

- few rows: `mc_predict` of 32 rows of a small MLP (20-64-64-3, dropout behind
  both hidden layers), beside `predict_on_batch` of the 1,600 rows that these
  are, each repeated for each sample. It is what a call costs besides products;
- many rows: 20 batches of 1,024 rows of the same, and how many rows of samples
  a second that makes, beside `predict_on_batch` of the 1,600 rows, as often as
  it takes. More batches make the same rate;
- late: MobileNetV3Small at 96 and 224 pixels, batches of 8 and 2, of which the
  head alone drops, beside one `predict_on_batch`;
- wide: an MLP of 3 x 1,024 units, 32 rows, beside one `predict_on_batch` and
  the bare products behind its first dropout.

Writes `benchmarks/results/call_cost_<backend>.json`, and says whether each bar
holds. `--show` writes the results of all backends into docs/benchmarks/.
"""

import argparse
import json
import os
import pathlib
import statistics
import time
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers

import kerasdrop
from benchmarks.speed import montecarlo
from benchmarks.support import markdown
from benchmarks.support import reporting
from benchmarks.support.reporting import BACKEND

NAME = "call_cost"
NUM_SAMPLES = 50
BATCH_SIZE = 1024
FEW_ROWS = 32


def small_mlp():
    return keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )


class Case(NamedTuple):
    """What is timed.

    Attributes:
        make: Function that makes the model.
        rows: How many rows are predicted.
        measure: Of them: "time" to the time of the other, or "rate" of rows.
        beside: What the other is: "repeated", each row once for each sample;
            "one", a prediction; "products", that and the bare products.
        bars: Dict by backend: what the ratio is to be, a time at most and a
            rate at least.
    """

    make: object
    rows: int
    measure: str
    beside: str
    bars: dict


LATE = {"jax": 1.15, "tensorflow": 1.2, "torch": 1.15}
CASES = {
    "few rows": Case(
        small_mlp,
        FEW_ROWS,
        "time",
        "repeated",
        {"jax": 4.0, "tensorflow": 2.3, "torch": 3.3},
    ),
    "many rows": Case(
        small_mlp,
        20 * 1024,
        "rate",
        "repeated",
        {"jax": 1.0, "tensorflow": 1.0, "torch": 0.9},
    ),
    "MobileNet 96": Case(
        lambda: montecarlo.mobilenet(96), 8, "time", "one", LATE
    ),
    "MobileNet 224": Case(
        lambda: montecarlo.mobilenet(224), 2, "time", "one", LATE
    ),
    "wide MLP": Case(montecarlo.mlp, 32, "time", "products", {"torch": 1.43}),
}

# Many rows are fewer in a try.
QUICK_ROWS = 2048


def functions_of(case, rows):
    """`mc_predict` and the functions whose times together it is beside."""
    model = case.make()
    batch = min(rows, BATCH_SIZE)
    x = np.random.default_rng(0).normal(size=(rows, *model.input_shape[1:]))
    x = x.astype("float32")

    def ours():
        kerasdrop.mc_predict(
            model, x, NUM_SAMPLES, batch_size=batch, seed=0, verbose=0
        )

    if case.beside == "repeated":
        repeated = np.repeat(x[:FEW_ROWS], NUM_SAMPLES, axis=0)

        def plain():
            for _ in range(0, rows, FEW_ROWS):
                model.predict_on_batch(repeated)

        return ours, [plain]
    others = [lambda: model.predict_on_batch(x)]
    if case.beside == "products":
        as_there = montecarlo.Case(case.make, rows, False, is_dense=True)
        others.append(montecarlo.bare_products(model, as_there, NUM_SAMPLES))
    return ours, others


def seconds_of(function, times=1):
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


def measured(name, seconds, is_quick=False):
    """The row of the table of one case."""
    case = CASES[name]
    rows = min(case.rows, QUICK_ROWS) if is_quick else case.rows
    ours, others = functions_of(case, rows)
    # The first call compiles.
    first = max(seconds_of(function) for function in (ours, *others))
    # A short call is repeated until it lasts about 50 ms.
    repeats = 1
    if first < 10.0:
        repeats = max(1, min(50, round(0.05 / seconds_of(ours))))
    rounds = []
    start = time.perf_counter()
    while len(rounds) < 3 or time.perf_counter() - start < seconds:
        one = seconds_of(ours, repeats)
        rounds.append((one, sum(seconds_of(each, repeats) for each in others)))
    ratio = statistics.median(one / other for one, other in rounds)
    if case.measure == "rate":
        ratio = 1.0 / ratio
    return {
        "case": name,
        "rows": rows,
        "rounds": len(rounds),
        "milliseconds": [
            round(1000 * statistics.median(times), 3) for times in zip(*rounds)
        ],
        "measure": case.measure,
        "beside": case.beside,
        "ratio": round(ratio, 3),
    }


def bars(rows):
    """The bars that the rows have to keep, and whether they do."""
    for row in rows:
        limit = CASES[row["case"]].bars.get(BACKEND)
        if limit is None:
            continue
        is_time = row["measure"] == "time"
        yield {
            "bar": f"{row['case']}: {row['measure']} beside {row['beside']} "
            f"{'at most' if is_time else 'at least'} {limit}",
            "value": row["ratio"],
            "holds": (row["ratio"] <= limit) == is_time,
        }


BESIDE = {
    "repeated": "`predict_on_batch` of 1,600 rows",
    "one": "one `predict_on_batch`",
    "products": "that and bare products",
}


def tables(reports):
    """The tables of reports, by backend: Markdown."""
    lines = []
    for name, case in CASES.items():
        found = {report["backend"]: _cell(report, name) for report in reports}
        lines.append(
            [
                f"{name}, {case.measure}",
                BESIDE[case.beside],
                *(found.get(backend, "") for backend in BACKENDS),
            ]
        )
    table = markdown.markdown(["case", "beside", *BACKENDS], lines)
    missed = [
        f"Not reached on {report['backend']}: {bar['bar']}, is {bar['value']}."
        for report in reports
        for bar in report["bars"]
        if not bar["holds"]
    ]
    sources = [markdown.source(report) for report in reports]
    return "\n\n".join([table, *missed, *sources])


BACKENDS = ("jax", "tensorflow", "torch")


def _cell(report, name):
    """`ratio (bar)` of a case, as far as there are any."""
    found = [row["ratio"] for row in report["rows"] if row["case"] == name]
    bar = CASES[name].bars.get(report["backend"])
    limit = "" if bar is None else f" ({bar:g})"
    return f"{found[0]:.2f}{limit}" if found else ""


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES)
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="of rounds, for each case"
    )
    parser.add_argument("--quick", action="store_true", help="a try")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--show", action="store_true", help="into the docs")
    options = parser.parse_args()
    if options.quick and not options.output:
        parser.error("--quick needs an --output: it is no result")
    return options


def main():
    options = parse_arguments()
    if options.show:
        markdown.write(__file__, tables(reporting.of_all_backends(NAME)))
        return
    file = options.output or reporting.path(NAME)
    before = json.loads(file.read_text())["rows"] if file.exists() else []
    rows = {row["case"]: row for row in before}
    seconds = 0.0 if options.quick else options.seconds
    for name in options.cases or CASES:
        rows[name] = measured(name, seconds, options.quick)
        print(rows[name], flush=True)
    in_order = [rows[name] for name in CASES if name in rows]
    report = {**reporting.taken(), "samples": NUM_SAMPLES, "rows": in_order}
    report["bars"] = list(bars(in_order))
    reporting.show_bars(report["bars"])
    reporting.keep(NAME, report, options.output)


if __name__ == "__main__":
    main()
