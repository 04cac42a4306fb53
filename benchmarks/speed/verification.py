"""What the self-check of `mc_predict` and `MonteCarlo` costs.

    KERAS_BACKEND=jax python -m benchmarks.speed.verification
        [--models mlp lstm]

For each model, the script times a first call of a new model, including
compilation, with the check and without. Both take turns, and their order
changes from round to round. It also times later calls of both, in turn. A ratio
is the median of the rounds' ratios, so that a busy machine disturbs both sides
equally. The targets are ratios of at most 1.3 for a first call and 1.05 for a
later one. The script prints a table in Markdown.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

import kerasdrop
from benchmarks.speed import montecarlo
from benchmarks.support import command_line
from benchmarks.support import markdown

FIRST, LATER = 1.3, 1.05  # the bars
LATER_CALLS = 5


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def predictor(make, batch, num_samples, verify):
    """A function that predicts one batch of a new model."""
    keras.utils.set_random_seed(0)
    model = make()
    shape = (batch, *model.input_shape[1:])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    predictive = kerasdrop.MonteCarlo(
        model, num_samples, kind="probabilities", seed=0, verify=verify
    )
    return lambda: predictive.predict(x, batch_size=batch, verbose=0)


def measured(name, num_samples, rounds):
    """A row of the table: seconds and ratios of one model."""
    case = montecarlo.CASES[name]
    first = {True: [], False: []}
    later = {True: [], False: []}
    for number in range(rounds):
        order = (True, False) if number % 2 else (False, True)
        predict = {}
        for verify in order:
            predict[verify] = predictor(
                case.make, case.batch, num_samples, verify
            )
            first[verify].append(timed(predict[verify]))
        for _ in range(LATER_CALLS):
            for verify in order:
                later[verify].append(timed(predict[verify]))
    extra = [one - other for one, other in zip(first[True], first[False])]
    return [
        name,
        f"{1000 * statistics.median(first[False]):.0f} ms",
        f"{1000 * statistics.median(extra):.0f} ms",
        f"{ratio(first):.2f}",
        f"{ratio(later):.2f}",
        "yes" if ratio(first) <= FIRST and ratio(later) <= LATER else "no",
    ]


def ratio(seconds):
    pairs = zip(seconds[True], seconds[False])
    return statistics.median(one / other for one, other in pairs)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    cases = montecarlo.CASES
    parser.add_argument("--models", nargs="+", choices=cases, default=[*cases])
    parser.add_argument("--samples", type=command_line.count, default=50)
    parser.add_argument("--rounds", type=command_line.count, default=4)
    options = parser.parse_args(argv)
    # Whatever is imported or made once in a process.
    predictor(montecarlo.mlp, 2, 16, True)()
    heads = ["model", "first call without", "more with", "first", "later"]
    rows = [
        measured(name, options.samples, options.rounds)
        for name in options.models
    ]
    print(markdown.markdown([*heads, "bars hold"], rows))


if __name__ == "__main__":
    main()
