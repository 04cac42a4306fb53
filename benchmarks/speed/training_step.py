"""What dropout adds to a training step: none, Keras' layers, kerasdrop's.

    KERAS_BACKEND=tensorflow python -m benchmarks.speed.training_step

For three networks, `train_on_batch` with SGD, as Keras compiles it for the
backend and run eagerly (`run_eagerly=True`):

- jax: compiled (`jax.jit`) and eager;
- tensorflow: graph (`jit_compile=False`), compiled by XLA, and eager;
- torch: eager, and compiled (`jit_compile=True`, `torch.compile`), where it
  compiles; else the message is in the results.

Keras compiles a model for PyTorch in many parts. After eight parts with the
same code, PyTorch runs the others eagerly; the larger of these models have
more. Here all parts are compiled: `torch._dynamo.config.recompile_limit` is
raised. `automatic_dynamic_shapes` is off, because otherwise a convolution does
not compile.

Each network runs without dropout (none), with the layers of `keras.layers`, and
with those of `kerasdrop.layers` in the same places, without seeds. Each runs in
its own process, so that no compiler confuses them. They take turns, round after
round, so that a busy machine disturbs them equally; a ratio is the median of
the rounds' ratios.

The script writes the table to standard output and to
`benchmarks/results/training_step_<backend>.json`; modes that are not run again
stay in it. `--show` puts the tables of the results of all backends into
docs/benchmarks/.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import statistics
import time
from concurrent import futures

os.environ.setdefault("KERAS_BACKEND", "jax")
# Each process of JAX would take most of a GPU's memory, and there are three.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import keras
import numpy as np
from keras import layers

import kerasdrop
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import reporting

NAME = "training_step"
VARIANTS = {"none": None, "Keras": keras.layers, "ours": kerasdrop.layers}
RATE = 0.2

# What `compile` is given in each mode.
GRAPH = {"jit_compile": False}
COMPILED = {"jit_compile": True}
EAGER = {"run_eagerly": True, "jit_compile": False}
MODES = {
    "jax": {"compiled": COMPILED, "eager": EAGER},
    "tensorflow": {"graph": GRAPH, "compiled": COMPILED, "eager": EAGER},
    "torch": {"eager": EAGER, "compiled": COMPILED},
}[reporting.BACKEND]

# A measurement repeats the step until it lasts about so long.
_SECONDS = 0.1


def mlp(dropout):
    """Three wide layers, dropout after each, for 128 rows."""
    x = h = keras.Input((512,))
    for _ in range(3):
        h = layers.Dense(1024, activation="relu")(h)
        h = dropout("Dropout")(h)
    return keras.Model(x, layers.Dense(10)(h)), 128


def convnet(dropout):
    """Convolutions whose channels are dropped, for 32 images."""
    x = h = keras.Input((28, 28, 1))
    for filters in (32, 64):
        h = layers.Conv2D(filters, 3, padding="same")(h)
        h = layers.BatchNormalization()(h)
        h = layers.Activation("relu")(h)
        h = dropout("SpatialDropout2D")(h)
        h = layers.MaxPooling2D()(h)
    h = layers.GlobalAveragePooling2D()(h)
    return keras.Model(x, layers.Dense(10)(h)), 32


def transformer(dropout):
    """Two blocks, dropout on both branches, for 32 sequences of 32 steps."""
    x = h = keras.Input((32, 64))
    for _ in range(2):
        a = layers.MultiHeadAttention(4, 16)(h, h)
        h = layers.LayerNormalization()(h + dropout("Dropout")(a))
        f = layers.Dense(256, activation="gelu")(h)
        f = layers.Dense(64)(f)
        h = layers.LayerNormalization()(h + dropout("Dropout")(f))
    h = layers.GlobalAveragePooling1D()(h)
    return keras.Model(x, layers.Dense(10)(h)), 32


NETWORKS = {"MLP": mlp, "convnet": convnet, "transformer": transformer}


def layers_of(variant):
    """A function that makes a dropout layer by its name."""
    package = VARIANTS[variant]
    if package is None:
        return lambda name: layers.Identity()
    return lambda name: getattr(package, name)(RATE)


def step_of(network, variant, mode):
    """A training step without arguments; it waits for its loss."""
    if reporting.BACKEND == "torch" and mode == "compiled":
        import torch

        torch._dynamo.config.recompile_limit = 100
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        torch._dynamo.config.automatic_dynamic_shapes = False
    keras.utils.set_random_seed(0)
    model, rows = NETWORKS[network](layers_of(variant))
    model.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **MODES[mode],
    )
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, *model.input_shape[1:])).astype("float32")
    y = generator.integers(0, 10, rows)
    return lambda: float(model.train_on_batch(x, y))


# What `prepare` makes and `timed` calls, in the process of a network.
_step = None


def prepare(network, variant, mode):
    """How often to step for one measurement; compiles on the way."""
    global _step
    _step = step_of(network, variant, mode)
    timed(3)
    return max(1, min(200, round(_SECONDS / timed(1))))


def timed(repeats):
    """Seconds of a step, the mean of so many."""
    start = time.perf_counter()
    for _ in range(repeats):
        _step()
    return (time.perf_counter() - start) / repeats


def measured(network, mode, num_rounds):
    """The row of a network in a mode."""
    row = {"network": network}
    with contextlib.ExitStack() as stack:
        processes = {
            variant: stack.enter_context(
                futures.ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn")
                )
            )
            for variant in VARIANTS
        }
        try:
            repeats = max(
                process.submit(prepare, network, variant, mode).result()
                for variant, process in processes.items()
            )
        except Exception as error:
            # Whatever a compiler says is a finding.
            reason = str(error).strip().splitlines()[0][:200]
            return {**row, "error": f"{type(error).__name__}: {reason}"}
        seconds = {variant: [] for variant in VARIANTS}
        for _ in range(num_rounds):
            for variant, process in processes.items():
                once = process.submit(timed, repeats).result()
                seconds[variant].append(once)
    return {
        **row,
        "milliseconds": {
            variant: float(f"{1e3 * statistics.median(values):.3g}")
            for variant, values in seconds.items()
        },
        "Keras / none": ratio(seconds, "Keras", "none"),
        "ours / none": ratio(seconds, "ours", "none"),
        "ours / Keras": ratio(seconds, "ours", "Keras"),
    }


def ratio(seconds, above, below):
    pairs = zip(seconds[above], seconds[below])
    return round(statistics.median(one / other for one, other in pairs), 3)


RATIOS = ("Keras / none", "ours / none", "ours / Keras")


def table(reports):
    """One table of the reports of the backends, a string."""
    lines = []
    for report in reports:
        for mode, part in report.items():
            for row in part["rows"]:
                start = [part["backend"], mode, row["network"]]
                lines.append([*start, *cells(row)])
    milliseconds = [f"{variant}, ms" for variant in VARIANTS]
    header = ["backend", "mode", "network", *milliseconds, *RATIOS]
    return markdown.markdown(header, lines)


def cells(row):
    """The times and the ratios of a row, or why there are none."""
    if "error" in row:
        return [row["error"], *[""] * (len(RATIOS) + 2)]
    times = (f"{row['milliseconds'][one]:.4g}" for one in VARIANTS)
    return [*times, *(f"{row[name]:.2f}" for name in RATIOS)]


def tables(reports):
    """The table and where its figures were taken, a string."""
    sources = [
        markdown.source(part) for report in reports for part in report.values()
    ]
    return "\n\n".join([table(reports), *dict.fromkeys(sources)])


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--modes", nargs="+", choices=MODES)
    parser.add_argument("--rounds", type=command_line.count, default=15)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a try: 2 rounds")
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    if options.quick:
        options.rounds = 2
    if (options.quick or options.networks) and not options.output:
        parser.error("--quick and --networks need an --output: no result")
    return options


def main():
    options = parse_arguments()
    if options.show:
        markdown.write(__file__, tables(reporting.of_all_backends(NAME)))
        return
    path = options.output or reporting.path(NAME)
    report = json.loads(path.read_text()) if path.exists() else {}
    for mode in options.modes or MODES:
        rows = []
        for network in options.networks or NETWORKS:
            rows.append(measured(network, mode, options.rounds))
            print(mode, rows[-1], flush=True)
        report[mode] = {
            **reporting.taken(),
            "rounds": options.rounds,
            "rows": rows,
        }
        reporting.keep(NAME, report, options.output)
    print(tables([report]))


if __name__ == "__main__":
    main()
