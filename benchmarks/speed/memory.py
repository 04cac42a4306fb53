"""Measures how much memory a prediction takes, under a limit and without.

    KERAS_BACKEND=jax python -m benchmarks.speed.memory [--models unet mlp]

For each model, the script measures how much the resident memory of a process
rises during its first call, including what is compiled and loaded for it: from
the memory in use before the call to its peak, as Linux reports it (`VmHWM`).
Each figure is from its own process:

- predict: `model.predict(x, batch_size=...)`, the batch of the table;
- one row: the same with `batch_size=1`;
- ours: `kerasdrop.mc_predict` with `--samples` samples and a `memory_limit` of
  64 MiB;
- free: the same without a limit.

"need" is the memory that was measured beforehand for the rows and samples drawn
at a time; it must stay below the limit. The models are those of
`benchmarks/speed/montecarlo.py`, and a three-dimensional U-Net, 48 x 48 x 48,
with 8 and 16 filters. The bar is a target for "ours" of the U-Net: at most 1.5
times its "one row" plus 32 MiB, in a first call and in a second, where nothing
is compiled.

The script writes the table to standard output and to
`benchmarks/results/memory_<backend>.json`. Models that are not among `--models`
keep their results. `--show` writes the results of all backends into
docs/benchmarks/ instead.
"""

import argparse
import ctypes
import gc
import json
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers

import kerasdrop
from benchmarks.speed import montecarlo
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import reporting
from kerasdrop.montecarlo.engine import sizes
from kerasdrop.montecarlo.engine import sizing

MIB = 2**20
LIMIT = 64 * MIB
SIDE = 48


def unet():
    """A small U-Net for volumes."""

    def two(h, filters):
        for _ in range(2):
            h = layers.Conv3D(filters, 3, padding="same", activation="relu")(h)
        return layers.SpatialDropout3D(0.2)(h)

    x = keras.Input((SIDE, SIDE, SIDE, 1))
    skip = two(x, 8)
    h = two(layers.MaxPooling3D()(skip), 16)
    h = layers.Concatenate()([layers.UpSampling3D()(h), skip])
    h = layers.Conv3D(2, 1, activation="softmax")(two(h, 8))
    return keras.Model(x, h)


CASES = {"unet": montecarlo.Case(unet, 1, False), **montecarlo.CASES}
CALLS = ("predict", "one row", "ours", "free")
WITH_BAR = ("unet",)


def in_use(name):
    """A figure of this process, in bytes: `VmRSS` or `VmHWM`."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


def rise(function):
    """How much the memory of this process rises over a call, in bytes."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak so far
    before = in_use("VmRSS")
    result = function()
    return in_use("VmHWM") - before, result


def rises(name, function):
    """The rise of a first call, and of a second where a bar is; its result."""
    first, result = rise(function)
    found = {"rise": first}
    if name in WITH_BAR:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        found["rise later"], _ = rise(function)
    return found, result


def measured(name, call, num_samples):
    """What a process of its own prints: a dict."""
    case = CASES[name]
    model = case.make()
    x = np.ones((case.batch, *model.input_shape[1:]), "float32")
    if call in ("predict", "one row"):
        rows = case.batch if call == "predict" else 1
        found, _ = rises(
            name, lambda: model.predict(x, batch_size=rows, verbose=0)
        )
        return found
    limit = LIMIT if call == "ours" else None
    chosen = watch()
    found, result = rises(
        name,
        lambda: kerasdrop.mc_predict(
            model,
            x,
            num_samples,
            kind="probabilities",
            memory_limit=limit,
            verbose=0,
        ),
    )
    return {
        **found,
        "results": sum(array.nbytes for array in result.values()),
        **chosen,
    }


def watch():
    """A dict that gets what is measured and chosen in a prediction."""
    seen = {}
    need, most = sizing.Sizing._need, sizes.most

    def watched_need(self, batch, chunks, functions):
        found = need(self, batch, chunks, functions)
        drawn = [batch.rows.shape[0], min(chunks.size, chunks.num_samples)]
        seen.setdefault("needs", []).append([*drawn, found.size])
        return found

    def watched_most(*args):
        found = most(*args)
        seen["drawn"] = list(found)
        return found

    sizing.Sizing._need, sizes.most = watched_need, watched_most
    return seen


def row_of(name, num_samples):
    """The row of the table of one model."""
    row = {"model": name, "batch": CASES[name].batch, "limit": LIMIT}
    for call in CALLS:
        output = subprocess.run(
            [
                sys.executable,
                "-m",
                __spec__.name,
                "--one",
                name,
                call,
                "--samples",
                str(num_samples),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        row[call] = json.loads(output.splitlines()[-1])
    return row


def need_of(found):
    """Bytes needed, of what is drawn at a time: in shares of the largest."""
    rows, samples = found["drawn"]
    *measured, size = max(found["needs"])
    return size * max(1.0, rows * samples / (measured[0] * measured[1]))


def bars(rows):
    for row in rows:
        if row["model"] not in WITH_BAR:
            continue
        for call, key in (("first", "rise"), ("later", "rise later")):
            most = 1.5 * row["one row"][key] + 32 * MIB
            yield {
                "bar": f"{row['model']}, a {call} call: rise under a limit of "
                f"{LIMIT // MIB} MiB at most {most / MIB:.0f} MiB",
                "value": round(row["ours"][key] / MIB),
                "holds": row["ours"][key] <= most,
            }


def in_mib(size):
    return f"{size / MIB:.0f}" if size >= 10 * MIB else f"{size / MIB:.1f}"


HEADS = [
    "model",
    "rows",
    "predict",
    "one row",
    "drawn at a time, limit of 64",
    "need",
    "ours",
    "drawn at a time, no limit",
    "need",
    "ours",
    "results",
]


def cells(row):
    found = [row["model"], str(row["batch"])]
    found += [in_mib(row[call]["rise"]) for call in ("predict", "one row")]
    for call in ("ours", "free"):
        rows, samples = row[call]["drawn"]
        found += [
            f"{rows} x {samples}",
            in_mib(need_of(row[call])),
            in_mib(row[call]["rise"]),
        ]
    return [*found, in_mib(row["ours"]["results"])]


def tables(reports):
    """The tables of reports, by backend: Markdown."""
    parts = []
    for report in reports:
        held = "; ".join(
            f"{bar['bar']}: is {bar['value']}"
            f"{'' if bar['holds'] else ', not reached'}"
            for bar in report["bars"]
        )
        parts += [
            f"### {report['backend']}: MiB",
            markdown.markdown(HEADS, [cells(row) for row in report["rows"]]),
            f"Bars: {held}.",
            markdown.source(report),
        ]
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--samples", type=command_line.count, default=50)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=pathlib.Path, default=None)
    parser.add_argument("--show", action="store_true", help="into the docs")
    options = parser.parse_args()
    if options.show:
        reports = reporting.of_all_backends("memory")
        markdown.write(__file__, tables(reports))
        return
    if options.one:
        print(json.dumps(measured(*options.one, options.samples)))
        return
    file = options.output or reporting.path("memory")
    before = json.loads(file.read_text()) if file.exists() else {"rows": []}
    rows = {row["model"]: row for row in before["rows"]}
    for name in options.models:
        rows[name] = row_of(name, options.samples)
        print(" ".join(cells(rows[name])), flush=True)
    report = {**reporting.taken(), "samples": options.samples}
    report["rows"] = [rows[name] for name in CASES if name in rows]
    report["bars"] = [*bars(report["rows"])]
    reporting.show_bars(report["bars"])
    reporting.keep("memory", report, options.output)


if __name__ == "__main__":
    main()
