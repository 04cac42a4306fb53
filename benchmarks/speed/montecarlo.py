"""Times Monte Carlo prediction beside what Keras users do without it.

    KERAS_BACKEND=jax python -m benchmarks.speed.montecarlo
        [--models mlp] [--memory]

In one run, for each model, one batch and `--samples` samples:

- ours: `kerasdrop.MonteCarlo(model, samples).predict_on_batch(x)`;
- loop: the usual loop, `model(x, training=True)`, sample by sample. It is so
  slow that `LOOP_SAMPLES` of them are timed and multiplied;
- compiled: a loop over `predict_on_batch` of a compiled model that calls the
  base with `training=True`;
- repeated: one such call on the input repeated for each sample;
- one: a single deterministic `predict_on_batch`;
- products: the matrix products and convolutions behind the first layer that
  draws, on the folded batch, and nothing else (models with a late dropout).

The others move the statistics of batch normalization, and their samples are not
summarised; ours are, and it moves nothing. All take turns, round after round,
so that a busy machine disturbs them equally; a ratio is the median of the
rounds' ratios.

`--memory` adds the peak memory to existing results. Each number of samples runs
in its own process, under the same `memory_limit`: the smallest power of 2 that
the model accepts (Linux).

Writes the table to standard output and to
`benchmarks/results/montecarlo_<backend>.json`, and says whether each bar holds.
Models that are not among `--models` keep the results that are there.
`--show` writes the results of all backends into docs/benchmarks/ instead.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
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
from benchmarks.support import waiting

LOOP_SAMPLES = 2
LEAST_ROUNDS = 3
LEAST_LIMIT = 2**22


def mlp():
    model = [keras.Input((512,))]
    for _ in range(3):
        model += [layers.Dense(1024, activation="relu"), layers.Dropout(0.5)]
    return keras.Sequential([*model, layers.Dense(10, activation="softmax")])


def wide_mlp(width):
    policy = keras.DTypePolicy("bfloat16")
    model = [keras.Input((512,))]
    for _ in range(3):
        dense = layers.Dense(width, activation="relu", dtype=policy)
        model += [dense, layers.Dropout(0.5, dtype=policy)]
    last = layers.Dense(10, activation="softmax", dtype=policy)
    return keras.Sequential([*model, last])


def lstm():
    return keras.Sequential(
        [
            keras.Input((32, 32)),
            layers.LSTM(64, dropout=0.2, recurrent_dropout=0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )


def transformer():
    x = keras.Input((32, 64))
    h = x
    for _ in range(2):
        a = layers.MultiHeadAttention(4, 16, dropout=0.1)(h, h)
        h = layers.LayerNormalization()(h + layers.Dropout(0.1)(a))
        f = layers.Dense(64)(layers.Dense(256, activation="gelu")(h))
        h = layers.LayerNormalization()(h + layers.Dropout(0.1)(f))
    h = layers.GlobalAveragePooling1D()(h)
    return keras.Model(x, layers.Dense(10, activation="softmax")(h))


def mobilenet(size):
    # A plain `Dropout` in the head, as a user adds one for ten classes.
    base = keras.applications.MobileNetV3Small(
        (size, size, 3), include_top=False, pooling="avg", weights=None
    )
    return late(base)


def efficientnet(drop_connect):
    base = keras.applications.EfficientNetB0(
        include_top=False,
        input_shape=(96, 96, 3),
        pooling="avg",
        weights=None,
    )
    if not drop_connect:
        for layer in base._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
    return late(base)


def convnext(size):
    base = keras.applications.ConvNeXtTiny(
        include_top=False,
        input_shape=(size, size, 3),
        pooling="avg",
        weights=None,
    )
    for layer in base._flatten_layers():
        if hasattr(layer, "drop_path_rate"):
            layer.drop_path_rate = 0.0
    return late(base)


def late(base):
    h = layers.Dropout(0.2)(base.output)
    h = layers.Dense(10, activation="softmax")(h)
    return keras.Model(base.input, h)


def small_late(size):
    """Stands for a large model with a late dropout, in a try."""
    x = keras.Input((size, size, 3))
    h = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(x))
    return late(keras.Model(x, h))


class Case(NamedTuple):
    """A model to be timed.

    Attributes:
        make: Function that makes it.
        batch: Rows of the batch.
        is_late: Whether only the head is drawn.
        is_dense: Whether all is dense, so that its products are known.
        for_gpu: Whether it is so large that it takes a GPU. It is run only if
            it is named, and without the rivals that take many times as long.
    """

    make: object
    batch: int
    is_late: bool
    is_dense: bool = False
    for_gpu: bool = False


CASES = {
    "mlp": Case(mlp, 32, False, is_dense=True),
    "lstm": Case(lstm, 32, False),
    "transformer": Case(transformer, 8, False),
    "mobilenet 96": Case(lambda: mobilenet(96), 8, True),
    "mobilenet 224": Case(lambda: mobilenet(224), 2, True),
    "efficientnet top": Case(lambda: efficientnet(False), 2, True),
    "efficientnet all": Case(lambda: efficientnet(True), 1, False),
    "convnext": Case(lambda: convnext(96), 1, True),
    "convnext 224": Case(lambda: convnext(224), 32, True, for_gpu=True),
    "mlp bfloat16": Case(
        lambda: wide_mlp(4096), 4096, False, is_dense=True, for_gpu=True
    ),
}
# The same in a size for a try on any machine.
TINY = {
    "convnext 224": Case(lambda: small_late(16), 2, True, for_gpu=True),
    "mlp bfloat16": Case(
        lambda: wide_mlp(32), 8, False, is_dense=True, for_gpu=True
    ),
}


class Stochastic(keras.Model):
    """Calls a model in training mode, in prediction too."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    def call(self, inputs):
        return self.base(inputs, training=True)


def waited(value):
    return ops.convert_to_numpy(value)


def contenders(case, num_samples):
    """Functions to time, by name, and by what to multiply the time."""
    model = case.make()
    x = np.random.default_rng(0).normal(
        size=(case.batch, *model.input_shape[1:])
    )
    x = x.astype("float32")
    ours = kerasdrop.MonteCarlo(model, num_samples, seed=0)
    found = {
        "ours": (lambda: ours.predict_on_batch(x), 1),
        **({} if case.for_gpu else rivals(case, x, num_samples)),
        "one": (lambda: model.predict_on_batch(x), 1),
    }
    products = bare_products(model, case, num_samples)
    if products is not None:
        found["products"] = (products, 1)
    return found


def rivals(case, x, num_samples):
    """Those that draw without this package."""
    stochastic = Stochastic(case.make())
    repeated = np.repeat(x, num_samples, axis=0)

    def loop():
        for _ in range(LOOP_SAMPLES):
            waited(stochastic.base(x, training=True))

    def compiled():
        for _ in range(num_samples):
            stochastic.predict_on_batch(x)

    return {
        "loop": (loop, num_samples / LOOP_SAMPLES),
        "compiled": (compiled, 1),
        "repeated": (lambda: stochastic.predict_on_batch(repeated), 1),
    }


def bare_products(model, case, num_samples):
    """The products of the dense layers that are run for each sample."""
    if not (case.is_late or case.is_dense):
        return None
    dense = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    if not case.is_late:
        dense = dense[1:]  # the first is in the prefix
    rows = case.batch * num_samples
    tensors = []
    for layer in dense:
        # A copy: Keras on JAX deletes the values of variables in `predict`.
        kernel = ops.cast(ops.copy(layer.kernel.value), layer.compute_dtype)
        ones = ops.ones((rows, len(kernel)), layer.compute_dtype)
        tensors.append((ones, kernel))

    def products():
        waiting.wait([ops.matmul(*pair) for pair in tensors])

    return products


def timed(function, factor):
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * factor


def measured(name, case, num_samples, seconds):
    """The row of the table of one model."""
    functions = contenders(case, num_samples)
    for function, _ in functions.values():
        function()  # compiles
    times = {contender: [] for contender in functions}
    start = time.perf_counter()
    while (
        len(times["ours"]) < LEAST_ROUNDS
        or time.perf_counter() - start < seconds
    ):
        for contender, (function, factor) in functions.items():
            times[contender].append(timed(function, factor))

    def ratio(denominator):
        pairs = zip(times["ours"], *(times[one] for one in denominator))
        return round(
            statistics.median(ours / sum(rest) for ours, *rest in pairs), 3
        )

    row = {
        "model": name,
        "batch": case.batch,
        "rounds": len(times["ours"]),
        "seconds": {
            contender: round(statistics.median(values), 4)
            for contender, values in times.items()
        },
        **{
            f"ours / {one}": ratio([one])
            for one in ("loop", "compiled", "repeated", "one")
            if one in times
        },
    }
    if case.for_gpu:
        row["ours / products"] = ratio(["products"])
    if "products" in times:
        row["ours / (one + products)"] = ratio(["one", "products"])
    return row


def bars(rows):
    for row in rows:
        if CASES[row["model"]].for_gpu:
            continue  # theirs are in benchmarks/gpu/bars.py
        names = ("loop", "compiled", "repeated")
        best = max(row[f"ours / {name}"] for name in names)
        yield bar(f"{row['model']}: ours / best rival", best, 1.05)
        if CASES[row["model"]].is_late:
            name = "ours / (one + products)"
            yield bar(f"{row['model']}: {name}", row[name], 1.3)
        if row["model"].endswith("224"):
            yield bar(f"{row['model']}: ours / one", row["ours / one"], 1.3)
        if row["model"] == "mlp":
            name = "ours / (one + products)"
            yield bar(f"mlp: {name}", row[name], round(1 / 0.7, 3))


def bar(name, value, limit):
    return {
        "bar": f"{name} at most {limit}",
        "value": value,
        "holds": value <= limit,
    }


def peak_memory(name, num_samples):
    """Peak resident memory of one prediction, in bytes, in this process."""
    case = CASES[name]
    model = case.make()
    x = np.ones((case.batch, *model.input_shape[1:]), "float32")
    limit = LEAST_LIMIT
    while True:
        try:
            kerasdrop.mc_predict(
                model,
                x,
                num_samples,
                kind="probabilities",
                memory_limit=limit,
                verbose=0,
            )
            break
        except ValueError:  # too little for a row: the least that will do
            limit *= 2
    # Not `getrusage`: that knows the peak of who started the process, too.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def memory_rows(names):
    for name in names:
        peaks = {
            str(num_samples): int(
                subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        __spec__.name,
                        "--peak",
                        name,
                        "--samples",
                        str(num_samples),
                    ],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.split()[-1]
            )
            for num_samples in (50, 1000)
        }
        print(f"{name}: peak memory {peaks}", flush=True)
        yield {"model": name, "peak bytes": peaks}


def memory_bars(rows):
    for row in rows:
        peaks = row["peak bytes"]
        yield bar(
            f"{row['model']}: peak memory at 1000 samples / at 50",
            round(peaks["1000"] / peaks["50"], 3),
            1.1,
        )


def show(row):
    seconds = "".join(
        f"  {name} {value:.3f}" for name, value in row["seconds"].items()
    )
    ratios = "".join(
        f"  {name[7:]} {value}"
        for name, value in row.items()
        if name.startswith("ours")
    )
    print(f"{row['model']:18} seconds:{seconds}\n{'':18} ours /:{ratios}")
    sys.stdout.flush()


def tables(reports):
    """The tables of reports, by backend: Markdown."""
    parts = []
    for report in reports:
        peaks = {row["model"]: row["peak bytes"] for row in report["peaks"]}
        rows = [
            [
                row["model"],
                str(row["batch"]),
                f"{1000 * row['seconds']['ours']:.0f} ms",
                *(_times(row.get(f"ours / {name}")) for name in RATIOS),
                _times(_growth(peaks.get(row["model"]))),
            ]
            for row in report["rows"]
        ]
        heads = ["model", "rows", "ours", *RATIOS, "memory, 1000 / 50"]
        failed = [bar for bar in report["bars"] if not bar["holds"]]
        missed = "; ".join(f"{bar['bar']}, is {bar['value']}" for bar in failed)
        parts += [
            f"### {report['backend']}",
            markdown.markdown(heads, rows),
            f"Not reached: {missed}." if failed else "All bars hold.",
            markdown.source(report),
        ]
    return "\n\n".join(parts)


RATIOS = ("loop", "compiled", "repeated", "one", "(one + products)")


def _growth(peaks):
    return peaks and peaks["1000"] / peaks["50"]


def _times(ratio):
    return (
        "" if ratio is None else f"{ratio:.2g}" if ratio < 1 else f"{ratio:.2f}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--models",
        nargs="+",
        choices=CASES,
        default=[name for name, case in CASES.items() if not case.for_gpu],
    )
    parser.add_argument("--samples", type=command_line.count, default=50)
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of rounds, for each model"
    )
    parser.add_argument("--memory", action="store_true", help="peaks only")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=pathlib.Path, default=None)
    parser.add_argument("--show", action="store_true", help="into the docs")
    options = parser.parse_args()
    if options.show:
        reports = reporting.of_all_backends("montecarlo")
        markdown.write(__file__, tables(reports))
        return
    if options.peak:
        print(peak_memory(options.peak, options.samples))
        return
    file = options.output or reporting.path("montecarlo")
    if options.memory:
        report = reporting.kept(file)
        report["peaks"] = list(memory_rows(options.models))
    else:
        report = {**reporting.taken(), "samples": options.samples}
        before = {"rows": [], "peaks": []}
        if file.exists():
            before = json.loads(file.read_text())
            if before["samples"] != options.samples:
                parser.error(
                    f"the results in {file} are of {before['samples']} "
                    "samples: pass another --output. Received: --samples "
                    f"{options.samples}"
                )
        rows = {row["model"]: row for row in before["rows"]}
        for name in options.models:
            case = TINY.get(name, CASES[name]) if options.tiny else CASES[name]
            rows[name] = measured(name, case, options.samples, options.seconds)
            show(rows[name])
        in_order = [rows[name] for name in CASES if name in rows]
        report |= {"rows": in_order, "peaks": before["peaks"]}
    report["bars"] = [*bars(report["rows"]), *memory_bars(report["peaks"])]
    print(f"{reporting.BACKEND}, {report['versions']}, {report['machine']}")
    reporting.show_bars(report["bars"])
    reporting.keep("montecarlo", report, options.output)


if __name__ == "__main__":
    main()
