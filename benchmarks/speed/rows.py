"""Measures the memory of a prediction whose results are written batch by batch.

    KERAS_BACKEND=jax python -m benchmarks.speed.rows [--rows 1000000]

A small network with dropout predicts rows of 20 float32 features from a file.
A callback writes the mean and the standard deviation of each batch to a file,
and nothing is collected. Then `evaluate` computes the area under the ROC curve
for the same rows, which a generator yields in batches with targets. The script
measures the memory of the process without mapped files (`RssAnon` of Linux),
after a tenth of the rows, and its maximum from there on. The target is a growth
of at most 8 MiB. The inputs take 76 MiB, and the statistics of all rows, 36
bytes each, would take 34.

The script writes `benchmarks/results/rows_<backend>.json`. `--show` writes the
results of all backends into docs/scaling.md instead.
"""

import argparse
import ctypes
import os
import pathlib
import tempfile
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers

import kerasdrop
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import reporting

MIB = 2**20
FEATURES = 20
BATCH = 5000
MOST = 8 * MIB


def in_use():
    """Bytes of this process that are in no file, and not given back."""
    ctypes.CDLL(None).malloc_trim(0)
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


class Watch(keras.callbacks.Callback):
    """Notes what is in use behind each batch.

    Args:
        out: Array `(rows, 2)` that gets mean and standard deviation, or None.
    """

    def __init__(self, out=None):
        super().__init__()
        self.out, self.row, self.seen = out, 0, []

    def on_predict_batch_end(self, batch, logs=None):
        found = logs["outputs"]
        rows = slice(self.row, self.row + len(found.mean))
        self.out[rows] = np.concatenate([found.mean, found.std], axis=1)
        self.row = rows.stop
        self.note()

    def on_test_batch_end(self, batch, logs=None):
        self.note()

    def note(self):
        self.seen.append(in_use())

    def growth(self):
        """From a tenth of the batches on, in bytes."""
        start = len(self.seen) // 10
        return max(self.seen[start:]) - self.seen[start]


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def written(rows, folder):
    """A file of features, a batch at a time."""
    path = pathlib.Path(folder) / "x"
    x = np.memmap(path, "float32", "w+", shape=(rows, FEATURES))
    generator = np.random.default_rng(0)
    for start in range(0, rows, BATCH):
        part = x[start : start + BATCH]
        part[:] = generator.normal(size=part.shape)
    x.flush()
    return np.memmap(path, "float32", "r", shape=(rows, FEATURES))


def with_targets(x):
    for start in range(0, len(x), BATCH):
        part = np.array(x[start : start + BATCH])
        yield part, (part[:, :1] > 0).astype("float32")


def measured(rows, num_samples, folder):
    """What a prediction and an evaluation take: a list of dicts."""
    x = written(rows, folder)
    predictive = kerasdrop.MonteCarlo(network(), num_samples, seed=0)
    predictive.compile(metrics=[keras.metrics.AUC()])
    out = np.memmap(
        pathlib.Path(folder) / "out", "float32", "w+", shape=(rows, 2)
    )
    watches = {"predict": Watch(out), "evaluate": Watch()}
    calls = {
        "predict": lambda watch: predictive.predict(
            x, BATCH, verbose=0, callbacks=[watch], collect=False
        ),
        "evaluate": lambda watch: predictive.evaluate(
            with_targets(x), verbose=0, callbacks=[watch]
        ),
    }
    found = []
    for name, call in calls.items():
        start = time.perf_counter()
        call(watches[name])
        found.append(
            {
                "call": name,
                "growth": watches[name].growth(),
                "seconds": time.perf_counter() - start,
            }
        )
    first, last = (
        predictive.predict(x[part], BATCH, verbose=0, rows=part)
        for part in (range(9), range(rows - 9, rows))
    )
    shown = np.concatenate([out[:9], out[-9:]])
    expected = [
        np.concatenate([one["mean"], one["std"]], axis=1)
        for one in (first, last)
    ]
    np.testing.assert_allclose(shown, np.concatenate(expected), atol=1e-5)
    return found


def bars(found):
    for row in found:
        yield {
            "bar": f"{row['call']}: memory grows by at most {MOST // MIB} MiB",
            "value": round(row["growth"] / MIB, 1),
            "holds": row["growth"] <= MOST,
        }


def tables(reports):
    """The table of reports, by backend: Markdown."""
    head = ["", "rows", "`predict` grows by", "`evaluate` grows by"]
    lines = [
        [
            report["backend"],
            f"{report['rows']:,}",
            *(f"{row['growth'] / MIB:.1f} MiB" for row in report["found"]),
        ]
        for report in reports
    ]
    return "\n\n".join(
        [markdown.markdown(head, lines), *map(markdown.source, reports)]
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=command_line.count, default=1_000_000)
    parser.add_argument("--samples", type=command_line.count, default=16)
    parser.add_argument("--output", type=pathlib.Path, default=None)
    parser.add_argument("--show", action="store_true", help="into the docs")
    options = parser.parse_args()
    if options.show:
        markdown.write(__file__, tables(reporting.of_all_backends("rows")))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measured(options.rows, options.samples, folder)
    report = {
        **reporting.taken(),
        "rows": options.rows,
        "samples": options.samples,
        "found": found,
        "bars": [*bars(found)],
    }
    reporting.show_bars(report["bars"])
    reporting.keep("rows", report, options.output)


if __name__ == "__main__":
    main()
