"""How exact the sampling plans of `kerasdrop.MonteCarlo` are.

    KERAS_BACKEND=jax python -m benchmarks.statistics.plans [--quick] [--show]

The script trains six small networks on data that come with scikit-learn, each
until its validation loss no longer falls, and adds three small ones with fixed
weights. It computes the predictive distribution of each with the stratified and
with the independent plan, with several numbers of samples, for 20 seeds. It
compares the results with a reference of 20,000 independent samples of other
seeds, over rows held out of training. For each network, number of samples and
plan it reports:

- mean: the squared error of the predictive mean with independent samples,
  divided by that with the plan. If it is 3, 32 samples of the plan are as exact
  as 96 independent ones.
- variance: the same for the predictive variance.
- bias: the mean of `variance` divided by the reference, minus 1.
- covered: how often the mean of the reference is within twice the
  `standard_error`, whose square is increased by that of the reference. For
  classes, this is for probabilities from .05 to .95; "covered, others" is for
  the others, whose samples are very skewed.
- claimed: the mean of `standard_error` divided by the actual root mean squared
  error, both in units of an output's standard deviation.

Squared errors are averaged over rows and outputs. The contribution of the
reference's own error is estimated from its parts and subtracted.

With a tolerance, chosen so that a typical row needs 20 sets of 16, the script
considers the rows that converged, and for classes only those whose output with
the largest variance is from .05 to .95. It reports the root mean squared error
of that output divided by the tolerance, and the number of samples.

It prints the tables of docs/plans.md, and writes `benchmarks/results/plans_<
backend>.json`. `--show` prints the existing ones, and one of all backends.
"""

import argparse
import os
import pathlib
import time
import warnings

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np

import kerasdrop
from benchmarks.statistics import plan_tables
from benchmarks.statistics.judges import Reference
from benchmarks.statistics.judges import judged
from benchmarks.statistics.judges import mean_of
from benchmarks.statistics.judges import middling
from benchmarks.statistics.judges import ratio
from benchmarks.statistics.networks import KNOWN
from benchmarks.statistics.networks import NETWORKS
from benchmarks.statistics.networks import TEST_ROWS
from benchmarks.statistics.networks import trained
from benchmarks.support import command_line
from benchmarks.support import reporting

PLANS = ("independent", "stratified")
STATISTICS = (
    "mean",
    "variance",
    "standard_error",
    "num_drawn",
    "converged",
)
NUM_SAMPLES = (16, 32, 48, 50, 64, 100, 256)

# The reference is made in parts, which differ by its own error.
PART_SAMPLES = 2000
FIRST_SEED_OF_REFERENCE = 10**6
SEEDS_WITH_TOLERANCE = 10
SETS_OF_TOLERANCE = 20


def statistics(model, x, plan, num_samples, seeds, **settings):
    """Statistics of `x` for each seed, `(seeds, rows, outputs)`, by name."""
    predictive = kerasdrop.MonteCarlo(model, num_samples, plan=plan, **settings)
    results = []
    for seed in seeds:
        predictive.seed = seed
        results.append(predictive.predict(x, batch_size=len(x), verbose=0))
    return {
        name: np.stack([result[name] for result in results])
        for name in STATISTICS
        if name in results[0]
    }


def measured(name, model, x, num_seeds, num_parts):
    """The rows of the tables of one network."""
    start = time.perf_counter()
    first = FIRST_SEED_OF_REFERENCE
    seeds = range(first, first + num_parts)
    parts = statistics(model, x, "independent", PART_SAMPLES, seeds)
    references = {
        name: Reference.of_parts(parts[name]) for name in ("mean", "variance")
    }
    rows = []
    for num_samples in NUM_SAMPLES:
        errors = {}
        for plan in PLANS:
            found = statistics(model, x, plan, num_samples, range(num_seeds))
            errors[plan] = {
                name: reference.squared_error_of(found[name]).mean(axis=(1, 2))
                for name, reference in references.items()
            }
            row = {
                "network": name,
                "num_samples": num_samples,
                "plan": plan,
                **{
                    name: ratio(errors["independent"][name], errors[plan][name])
                    for name in references
                },
                **judged(found, references),
            }
            print(f"  {row}", flush=True)
            rows.append(row)
    tolerances = [
        with_tolerance(name, model, x, plan, references) for plan in PLANS
    ]
    print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    return rows, tolerances


def with_tolerance(name, model, x, plan, references):
    """How exact and how dear rows are that stop at a tolerance."""
    widest = references["variance"].value.argmax(axis=-1)
    rows = np.flatnonzero(
        middling(references["mean"])[np.arange(len(x)), widest]
    )
    pick = (rows, widest[rows])
    # Of set means by many sets; of independent samples 16 are a set.
    found = statistics(model, x, plan, 1024, range(4))
    per_set = (found["standard_error"] ** 2 * 64).mean(axis=0)[pick]
    tolerance = float(np.median(per_set / SETS_OF_TOLERANCE) ** 0.5)
    row = {"network": name, "plan": plan, "tolerance": tolerance}
    if tolerance**2 < 1e-9 * references["variance"].value.mean():
        return row
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows that do not get there
        found = statistics(
            model,
            x,
            plan,
            None,
            range(SEEDS_WITH_TOLERANCE),
            tolerance=tolerance,
        )
    mean = references["mean"]
    squares = mean.squared_error_of(found["mean"])[:, *pick]
    done = found["converged"][:, rows]
    row |= {
        "converged": mean_of(done),
        "drawn": mean_of(found["num_drawn"][:, rows][done]),
        "error / tolerance": round(
            float(squares[done].mean() ** 0.5 / tolerance), 3
        ),
    }
    print(f"  {row}", flush=True)
    return row


def rare_unit(rows=20_000):
    """A path that is dropped with probability .05, at a tolerance of .001."""
    import keras

    path = kerasdrop.layers.DropPath(0.05)
    model = keras.Sequential([keras.Input((1,)), path])
    x = np.ones((rows, 1), "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            plan: int(
                kerasdrop.mc_predict(
                    model,
                    x,
                    seed=0,
                    plan=plan,
                    kind="regression",
                    tolerance=0.001,
                    batch_size=rows,
                    verbose=0,
                ).converged.sum()
            )
            for plan in PLANS
        }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=command_line.count, default=20)
    parser.add_argument(
        "--parts", type=command_line.count, default=10, help="of 2000 samples"
    )
    parser.add_argument(
        "--epochs",
        type=command_line.count,
        help="train so long, not until it is enough",
    )
    parser.add_argument(
        "--quick", action="store_true", help="10 seeds, 2 parts: a try"
    )
    parser.add_argument(
        "--show", action="store_true", help="print the tables that there are"
    )
    parser.add_argument("--output", type=pathlib.Path, default=None)
    options = parser.parse_args()
    if options.show:
        plan_tables.show(
            reporting.kept(options.output or reporting.path("plans"))
        )
        plan_tables.compare(reporting.of_all_backends("plans"))
        return
    if (options.quick or options.epochs) and not options.output:
        parser.error("--quick and --epochs need an --output: no result")
    if options.quick:
        options.seeds, options.parts = 10, 2
    networks = {
        **{network.name: network for network in NETWORKS},
        **KNOWN,
    }
    rows, tolerances, training = [], [], {}
    for name, network in networks.items():
        if name in KNOWN:
            model, x, training[name] = network()
        else:
            model, x, training[name] = trained(network, options.epochs)
        print(f"{name}: {training[name]}", flush=True)
        found = measured(name, model, x, options.seeds, options.parts)
        rows += found[0]
        tolerances += found[1]
    report = {
        **reporting.taken("scikit-learn"),
        "seeds": options.seeds,
        "reference": PART_SAMPLES * options.parts,
        "test_rows": TEST_ROWS,
        "training": training,
        "rows": rows,
        "tolerances": tolerances,
        "rare unit, converged of 20,000": rare_unit(),
    }
    report["bars"] = list(plan_tables.bars(report))
    plan_tables.show(report)
    reporting.keep("plans", report, options.output)


if __name__ == "__main__":
    main()
