"""Times a training call of `kerasdrop.layers.Dropout` and of other layers.

    KERAS_BACKEND=tensorflow python -m benchmarks.speed.masks

One run compares, in each mode of the backend, on float32 tensors of three
sizes, forward and forward + backward:

- pass: `x * 2`, the least that an element-wise layer can cost;
- stock: `keras.layers.Dropout(0.5)`;
- seeded: `keras.layers.Dropout(0.5, seed=0)`;
- ours: `kerasdrop.layers.Dropout(0.5, seed=0)`.

On a GPU with PyTorch there are two more in eager mode:

- operations: ours without the kernel that is written in Triton;
- region: `torch.compile` of `kerasdrop.functional.dropout` alone.

The layers are called as in a training step, including the update of their
state. They take turns, round after round, so that a busy machine disturbs all
of them equally. A ratio is the median of the rounds' ratios.

The script writes the table to standard output and to
`benchmarks/results/masks_<backend>.json`, and says whether each target is met.
`--show` puts the table of the results of all backends into docs/benchmarks/.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

import kerasdrop
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import reporting
from benchmarks.support.reporting import BACKEND

NAME = "masks"
MODES = {
    "jax": ("jit",),
    "tensorflow": ("graph", "XLA"),
    "torch": ("eager", "compile"),
}[BACKEND]
COMPILED = ("jit", "XLA", "compile")
SIZES = ((4096, 1024), (128, 1024), (32, 64))
COLUMNS = ("pass", "stock", "seeded", "ours")
ON_GPU = ("operations", "region")
RATE = 0.5

# A measurement repeats the call until it lasts about so long.
_SECONDS = 0.005


def layer_of(column):
    if column == "stock":
        return keras.layers.Dropout(RATE)
    if column == "seeded":
        return keras.layers.Dropout(RATE, seed=0)
    return kerasdrop.layers.Dropout(RATE, seed=0)


def is_torch_on_gpu():
    if BACKEND != "torch":
        return False
    import torch

    return torch.cuda.is_available()


def columns(mode):
    more = mode == "eager" and is_torch_on_gpu()
    return COLUMNS + ON_GPU * more


@contextlib.contextmanager
def by_operations():
    """In the block, PyTorch makes masks without the kernel."""
    from kerasdrop._backend import torch_kernel

    devices, torch_kernel.DEVICES = torch_kernel.DEVICES, set()
    try:
        yield
    finally:
        torch_kernel.DEVICES = devices


class JaxCalls:
    """Training calls on JAX: the state goes in and comes out, compiled."""

    def __init__(self, mode):
        import jax

        self._jax = jax

    def tensor(self, array):
        return self._jax.numpy.asarray(array)

    def finish(self, result):
        self._jax.block_until_ready(result)

    def call(self, column, backward):
        layer = layer_of(column)

        def forward(inputs, state):
            if column == "pass":
                return inputs * 2.0, state
            return layer.stateless_call([], state, inputs, training=True)

        def both(inputs, state, gradient):
            outputs, pull_back, state = self._jax.vjp(
                lambda x: forward(x, state), inputs, has_aux=True
            )
            return (outputs, *pull_back(gradient)), state

        state = [v.value for v in layer.non_trainable_variables]
        compiled = self._jax.jit(both if backward else forward)

        def run(inputs, gradient):
            nonlocal state
            arguments = (gradient,) if backward else ()
            result, state = compiled(inputs, state, *arguments)
            return result

        return run


class TensorFlowCalls:
    """Training calls on TensorFlow, as Keras runs them with and without XLA."""

    def __init__(self, mode):
        import tensorflow as tf

        self._tf = tf
        self._xla = mode == "XLA"

    def tensor(self, array):
        return self._tf.constant(array)

    def finish(self, result):
        self._tf.test.experimental.sync_devices()

    def call(self, column, backward):
        layer = layer_of(column)

        def forward(inputs):
            if column == "pass":
                return inputs * 2.0
            return layer(inputs, training=True)

        @self._tf.function(jit_compile=self._xla)
        def run(inputs, gradient):
            if not backward:
                return forward(inputs)
            with self._tf.GradientTape() as tape:
                tape.watch(inputs)
                outputs = forward(inputs)
            return outputs, tape.gradient(outputs, inputs, gradient)

        return run


class TorchCalls:
    """Training calls on PyTorch, eager and with `torch.compile`."""

    def __init__(self, mode):
        import torch

        self._torch = torch
        self._compiles = mode == "compile"
        # A function is compiled only so many times, for so many layers.
        torch.compiler.reset()

    def tensor(self, array):
        return keras.ops.convert_to_tensor(array)

    def finish(self, result):
        if self._torch.cuda.is_available():
            self._torch.cuda.synchronize()

    def _region(self):
        """`functional.dropout`, compiled on its own, with a count of steps."""
        layer = layer_of("ours")
        key, rate = layer._state.tensor("key"), layer._state.tensor("rate")
        step = self._torch.zeros_like(key[0, 0, 0])

        @self._torch.compile
        def dropped(inputs, step):
            draw = kerasdrop.masks.Draw(key, step)
            return kerasdrop.functional.dropout(inputs, draw, rate)

        return lambda inputs: dropped(inputs, step.add_(1))

    def call(self, column, backward):
        layer = layer_of(column)

        def forward(inputs):
            if column == "pass":
                return inputs * 2.0
            if column == "operations":
                with by_operations():
                    return layer(inputs, training=True)
            return layer(inputs, training=True)

        if column == "region":
            forward = self._region()
        if self._compiles:
            forward = self._torch.compile(forward)

        def run(inputs, gradient):
            if not backward:
                return forward(inputs)
            inputs = inputs.detach().requires_grad_()
            outputs = forward(inputs)
            return outputs, self._torch.autograd.grad(outputs, inputs, gradient)

        return run


CALLS = {"jax": JaxCalls, "tensorflow": TensorFlowCalls, "torch": TorchCalls}


def repetitions(run, arguments, finish):
    """How often to call for one measurement; warms up on the way."""
    for _ in range(3):
        finish(run(*arguments))
    start = time.perf_counter()
    finish(run(*arguments))
    once = time.perf_counter() - start
    return max(1, min(500, round(_SECONDS / once)))


def rounds_of(mode, size, backward, num_rounds):
    """Milliseconds of a call: for each column a list, one for each round."""
    calls = CALLS[BACKEND](mode)
    generator = np.random.default_rng(0)
    arguments = [
        calls.tensor(generator.normal(size=size).astype("float32"))
        for _ in ("inputs", "gradient")
    ]
    runs = {column: calls.call(column, backward) for column in columns(mode)}
    repeats = {
        column: repetitions(run, arguments, calls.finish)
        for column, run in runs.items()
    }
    times = {column: [] for column in runs}
    for _ in range(num_rounds):
        for column, run in runs.items():
            start = time.perf_counter()
            for _ in range(repeats[column]):
                result = run(*arguments)
            calls.finish(result)
            elapsed = time.perf_counter() - start
            times[column].append(1e3 * elapsed / repeats[column])
    return times


def ratio(times, column, reference):
    return statistics.median(
        time / other for time, other in zip(times[column], times[reference])
    )


def measured(mode, size, backward, num_rounds):
    """One row of the table."""
    times = rounds_of(mode, size, backward, num_rounds)
    milliseconds = {
        column: round(statistics.median(each), 4)
        for column, each in times.items()
    }
    further = [column for column in ON_GPU if column in times]
    return {
        "mode": mode,
        "size": list(size),
        "direction": "forward + backward" if backward else "forward",
        "milliseconds": milliseconds,
        **{
            f"{column} / pass": round(ratio(times, column, "pass"), 2)
            for column in further
        },
        "ours / pass": round(ratio(times, "ours", "pass"), 2),
        "ours / stock": round(ratio(times, "ours", "stock"), 2),
        "ours / seeded": round(ratio(times, "ours", "seeded"), 2),
    }


def bars(rows):
    """The bars that the rows have to keep, and whether they do."""
    for row in rows:
        size = tuple(row["size"])
        if row["mode"] in COMPILED:
            if size != SIZES[0]:
                continue
            is_forward = row["direction"] == "forward"
            name, limit = "ours / pass", 2.5 if is_forward else 3.0
        elif size == SIZES[2]:
            name, limit = "ours / stock", 1.8
        else:
            name, limit = "ours / seeded", 1.0
        yield {
            "bar": f"{row['mode']}, {size}, {row['direction']}: {name} "
            f"at most {limit}",
            "value": row[name],
            "holds": row[name] <= limit,
        }


def show(rows):
    print(
        f"{'mode':8}{'size':>13} {'direction':20}"
        + "".join(f"{column:>10}" for column in COLUMNS)
        + "   ours / pass, stock, seeded"
    )
    for row in rows:
        milliseconds = row["milliseconds"]
        print(
            f"{row['mode']:8}{row['size']!s:>13} {row['direction']:20}"
            + "".join(f"{milliseconds[column]:10.3f}" for column in COLUMNS)
            + f"{row['ours / pass']:14.2f}{row['ours / stock']:8.2f}"
            + f"{row['ours / seeded']:8.2f}"
            + "".join(
                f", {column} {row[f'{column} / pass']:.2f}"
                for column in ON_GPU
                if column in milliseconds
            )
        )


def tables(reports):
    """The table and where its figures were taken, a string."""
    directions = ("forward", "forward + backward")
    ratios = ("ours / pass", "ours / stock")
    header = ["backend", "mode", "size"]
    header += [f"{ratio}, {name}" for name in directions for ratio in ratios]
    lines = []
    for report in reports:
        of_mode = {}
        for row in report["rows"]:
            key = (row["mode"], "{} x {}".format(*row["size"]))
            of_mode.setdefault(key, {})[row["direction"]] = row
        for key, found in of_mode.items():
            values = [
                found[name][ratio] for name in directions for ratio in ratios
            ]
            cells = [f"{v:.2f}" if v >= 0.01 else "< 0.01" for v in values]
            lines.append([report["backend"], *key, *cells])
    sources = [markdown.source(report) for report in reports]
    return "\n\n".join([markdown.markdown(header, lines), *sources])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=command_line.count, default=30)
    parser.add_argument("--output", type=pathlib.Path, default=None)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    if options.show:
        markdown.write(__file__, tables(reporting.of_all_backends(NAME)))
        return
    rows = [
        measured(mode, size, backward, options.rounds)
        for mode in MODES
        for size in SIZES
        for backward in (False, True)
    ]
    report = {
        **reporting.taken(),
        "unit": "milliseconds, median of the rounds",
        "rounds": options.rounds,
        "rows": rows,
        "bars": list(bars(rows)),
    }
    print(f"{BACKEND}, {report['versions']}, {report['machine']}")
    show(rows)
    reporting.show_bars(report["bars"])
    reporting.keep(NAME, report, options.output)


if __name__ == "__main__":
    main()
