"""Scores a large array on many workers, with the numbers of a single process.

A Monte Carlo sample depends only on the seed, its number and the position of
the row in the data. So a task of Ray Data is a range of row numbers. Its rows
have the same uncertainty whichever worker runs it, in whatever order, and also
if it runs again after a worker was lost. The workers share a folder with the
model and the inputs, which each of them maps into memory.

The script scores the rows once on the workers and once in this process, prints
the cost, and compares the results. docs/scaling.md explains what this means for
a hundred machines.

    python examples/distributed_mc.py [--workers 2] [--kill] [--quick]

--kill kills a worker in the middle of the run. KERAS_BACKEND chooses the
backend. The weights and inputs are random, because the script only shows how
such a model is run.
"""

import argparse
import logging
import os
import pathlib
import signal
import tempfile
import time

# Ray would report on its use to its makers.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import keras
import numpy as np

import kerasdrop

try:
    import ray
except ImportError:
    raise SystemExit(
        "This example needs Ray. Install it by `pip install "
        '"kerasdrop[distributed]"`, or `pip install "ray[data]"`.'
    ) from None

FEATURES, UNITS, CLASSES = 64, 256, 10
BATCH = 250
STATISTICS = (
    "mean",
    "standard_error",
    "predictive_entropy",
    "mutual_information",
)


def build_model(rate=0.3):
    """A classifier with dropout behind each hidden layer."""
    model = keras.Sequential([keras.Input((FEATURES,))])
    for _ in range(3):
        model.add(keras.layers.Dense(UNITS, activation="relu"))
        model.add(kerasdrop.layers.Dropout(rate))
    model.add(keras.layers.Dense(CLASSES, activation="softmax"))
    return model


def write_folder(folder, num_rows, seed):
    """Writes what all workers read: the model and the inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "killed").unlink(missing_ok=True)  # of an earlier run
    build_model().save(folder / "model.keras")
    inputs = np.random.default_rng(seed).normal(size=(num_rows, FEATURES))
    np.save(folder / "inputs.npy", inputs.astype("float32"))


class Scorer:
    """A worker: loads and compiles once, then scores one task after another.

    Args:
        folder: Path that every worker can read.
        num_samples, seed: As in `kerasdrop.MonteCarlo`, the same everywhere.
        dies_at: Row at which the first worker to get there is killed, or None.
    """

    def __init__(self, folder, num_samples, seed, dies_at=None):
        start = time.perf_counter()
        self.folder, self.dies_at = folder, dies_at
        self.inputs = np.load(folder / "inputs.npy", mmap_mode="r")
        self.predictive = kerasdrop.MonteCarlo(
            keras.saving.load_model(folder / "model.keras"),
            num_samples=num_samples,
            seed=seed,
            kind="probabilities",
        )
        self.predict(np.arange(BATCH))  # compiles
        self.start_seconds = time.perf_counter() - start

    def predict(self, rows, verbose=0):
        """The statistics of the rows with these numbers."""
        return self.predictive.predict(
            self.inputs[rows], batch_size=BATCH, verbose=verbose, rows=rows
        )

    def __call__(self, task):
        """Scores one task, a dict of columns; returns another."""
        start = time.perf_counter()
        rows = task["id"]
        statistics = self.predict(rows)
        if self.dies_at is not None and self.dies_at in rows:
            self.die_once()
        seconds = time.perf_counter() - start
        columns = {name: statistics[name] for name in STATISTICS}
        columns["row"] = rows
        columns["worker"] = np.full(len(rows), os.getpid())
        columns["seconds"] = np.full(len(rows), seconds / len(rows))
        columns["start_seconds"] = np.full(len(rows), self.start_seconds)
        return columns

    def die_once(self):
        """Kills this process, unless another one was killed before."""
        try:
            with open(self.folder / "killed", "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def score_on_workers(scorer, num_rows, rows_per_task, num_workers):
    """Returns all columns in the order of the rows.

    `arrived` has the seconds after which each row arrived.

    Args:
        scorer: Dict, the arguments of each worker's `Scorer`.
        num_rows, rows_per_task, num_workers: Integers.

    Raises:
        RuntimeError: If a row came back twice, or never.
    """
    tasks = ray.data.range(
        num_rows, override_num_blocks=-(-num_rows // rows_per_task)
    )
    # Ray starts a lost actor again, and gives it its task again.
    scored = tasks.map_batches(
        Scorer,
        fn_constructor_kwargs=scorer,
        batch_size=None,  # a task at a time
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=num_workers),
    )
    columns = {}
    times_seen = np.zeros(num_rows, int)
    start = time.perf_counter()
    bar = keras.utils.Progbar(num_rows, unit_name="row")
    for part in scored.iter_batches(batch_size=None):
        rows = part["row"]
        times_seen[rows] += 1
        part["arrived"] = np.full(len(rows), time.perf_counter() - start)
        for name, values in part.items():
            shape = (num_rows, *values.shape[1:])
            columns.setdefault(name, np.empty(shape, values.dtype))
            columns[name][rows] = values
        bar.add(len(rows))
    if (times_seen != 1).any():
        wrong = np.flatnonzero(times_seen != 1)
        raise RuntimeError(
            "Each row should have come back once. Received otherwise: rows "
            f"{wrong[:10]}, {times_seen[wrong[:10]]} times"
        )
    return columns


def print_cost(columns, single_seconds, num_workers):
    """Prints the figures on which docs/scaling.md is based."""
    num_rows = len(columns["row"])
    busy = columns["seconds"].sum()
    first, last = columns["arrived"].min(), columns["arrived"].max()
    later = np.sum(columns["arrived"] > first)
    inputs = FEATURES * np.dtype("float32").itemsize
    index = columns["row"].itemsize
    statistics = sum(columns[name][0].nbytes for name in STATISTICS)
    lines = {
        "single process": f"{num_rows / single_seconds:.0f} rows/s",
        "a worker": f"{num_rows / busy:.0f} rows/s",
        "all workers": f"{later / (last - first):.0f} rows/s",
        "a worker's start": f"{columns['start_seconds'].max():.1f} s, and "
        f"{first:.1f} s to the first rows",
        "per row": f"{1e6 * busy / num_rows:.0f} us of a worker, {inputs} "
        f"bytes read, {index} sent, {statistics + index} returned",
    }
    print(f"\n{num_rows} rows, {num_workers} workers")
    for name, value in lines.items():
        print(f"  {name:<30}{value}")


def print_killed(folder, columns, row):
    """Prints which worker was killed, and which one did its work."""
    killed = int((folder / "killed").read_text())
    print(
        f"Worker {killed} was killed at row {row}, which worker "
        f"{columns['worker'][row]} scored again."
    )


def print_differences(columns, single):
    """Prints the largest differences between workers and a single process."""
    print("Largest difference from the single process")
    for name in STATISTICS:
        difference = np.abs(columns[name] - single[name])
        print(f"  {name:<30}{difference.max():.1e}")
    scale = single["standard_error"].max()
    print(f"  (largest standard error       {scale:.1e})")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--rows-per-task", type=int, default=4 * BATCH)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--kill", action="store_true", help="kill a worker half-way"
    )
    parser.add_argument(
        "--quick", action="store_true", help="3,900 rows, 16 samples: a try"
    )
    parser.add_argument(
        "--folder",
        type=pathlib.Path,
        help="where model, inputs and scores.npz go; else a temporary folder",
    )
    options = parser.parse_args()
    if options.quick:
        # The last batch of a task is not full.
        options.rows, options.samples = 3_900, 16
    return options


def run(options, folder):
    """Scores on the workers and in this process; prints both."""
    keras.utils.set_random_seed(options.seed)
    write_folder(folder, options.rows, options.seed)
    scorer = {
        "folder": folder,
        "num_samples": options.samples,
        "seed": options.seed,
    }
    middle = options.rows // 2
    print(f"On {options.workers} workers", flush=True)
    columns = score_on_workers(
        {**scorer, "dies_at": middle if options.kill else None},
        options.rows,
        options.rows_per_task,
        options.workers,
    )
    ray.shutdown()  # the cores are free for the other one
    np.savez(folder / "scores.npz", **columns)

    print("In a single process")
    alone = Scorer(**scorer)
    start = time.perf_counter()
    single = alone.predict(np.arange(options.rows), verbose=1)
    single_seconds = time.perf_counter() - start
    print_cost(columns, single_seconds, options.workers)
    if options.kill:
        print_killed(folder, columns, middle)
    print_differences(columns, single)


def main():
    options = parse_arguments()
    # Without an address this machine is the cluster. With one, set
    # RAY_ADDRESS, and let --folder be one that all machines see.
    backend = {"KERAS_BACKEND": keras.backend.backend()}
    ray.init(runtime_env={"env_vars": backend}, log_to_driver=False)
    # There is a bar of our own, over the rows that have arrived.
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        run(options, (options.folder or pathlib.Path(temporary)).resolve())


if __name__ == "__main__":
    main()
