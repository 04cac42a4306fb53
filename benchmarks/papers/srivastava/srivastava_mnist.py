"""MNIST as in Srivastava et al. (2014), as far as the updates reach.

    python -m benchmarks.papers.srivastava.srivastava_mnist --data DIR
        [--rows none maxnorm ...] [--updates 9000] [--seeds 0 1]
        [--quick] [--choose] [--show]

The script trains networks of the paper
(https://jmlr.org/papers/v15/srivastava14a.html) on the MNIST images in DIR, and
prints the error on the 10,000 test images, in percent, next to the paper's. The
paper made a million updates of the weights; `--updates` sets their number here,
which stands next to each figure. The rows are:

- none, logistic, relu, maxnorm: from Table 2. maxnorm-3x2048, maxnorm-2x4096
  and maxnorm-2x8192 are its larger networks, which need a GPU or much time. The
  row maxnorm also gives Figure 11: the error of the average over k of
  `--samples` stochastic passes, for k = 1 .. 200, and that of weight scaling.
- bernoulli, gaussian: from Table 10.
- keep-n, keep-pn, sizes: the shapes of Figures 9a, 9b and 10, with networks of
  a quarter of the width and a third of the updates.
- scheduled: not in the paper. It is the network of maxnorm with inverted
  dropout and a few schedules of the hidden layers' rate, not all with the same
  mean. The one with the lowest error on the last 10,000 training images is
  trained again on all training images, and tested.

The networks, the probabilities to keep a unit (.8 for inputs, .5 for hidden
units), the momentum of .95 (.9 without dropout) and the max-norm of 2 on hidden
units are from the paper. It does not give the following: batches of 100;
initial weights from N(0, 1 / fan-in), as in the first author's code, with four
times this standard deviation for logistic units, which otherwise still have an
error of 80 to 90 % after 600 updates; and a learning rate that falls linearly
to 0 over the updates. Its initial value is the best of `LEARNING_RATES` on the
last 10,000 training images, after 600 updates on the others: `--choose` makes
this choice, and `ROWS` has its result. The test images take no part in any
choice; each trained network sees them once.

A finished row of a seed is kept in the results, and not trained again. For an
interrupted one, `--checkpoints` keeps the weights every 600 updates, and
training continues from there, with the same images in the same order.

With `--compiled-loop`, on JAX, 600 updates are one call of the device, which is
meant for a GPU. `--seconds` ends a run after that long, with a checkpoint and
exit status 3; the next run continues from there.

The script writes `benchmarks/results/srivastava_mnist_<backend>.json`. `--show`
trains nothing; it writes the tables into `docs/benchmarks/` and draws Figures 9
to 11 into `docs/images`, if there are results (with matplotlib). `--quick`
makes 20 updates of networks of a sixteenth of the width, to try the script.
"""

import argparse
import datetime
import os
import pathlib
import time
from typing import NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers

import kerasdrop
from benchmarks.papers.srivastava import compiled_loop
from benchmarks.papers.srivastava import srivastava_plots
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import mnist_data
from benchmarks.support import plotting
from benchmarks.support import reporting
from kerasdrop import schedules
from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout
from kerasdrop.layers import GaussianDropout

NAME = "srivastava_mnist"
BATCH_SIZE = 100
CHUNK = 600  # updates between two checkpoints: an epoch of all images
# Updates in one call of the backend; Keras refuses more on PyTorch.
STEPS_PER_CALL = 1 if reporting.BACKEND == "torch" else 20
# The same on a GPU, in seconds: there a chunk takes less than to write a file.
SECONDS_BETWEEN = 20.0
# What the script ends with if `--seconds` were over first.
UNFINISHED = 3
LEARNING_RATES = (0.01, 0.03, 0.1, 0.3)
CHOICE_UPDATES = 600

# Figure 11: averages of k of the passes, up to so many, so many times.
REPEATS = 100
MOST_AVERAGED = 200


class Network(NamedTuple):
    """A network and how it is trained.

    Attributes:
        hidden: Numbers of hidden units.
        noise: The class of the dropout layers, None for none.
        input_rate: The probability to drop an input, 0 for no such layer.
        hidden_rate: That of a hidden unit, or a schedule.
        max_norm: The largest norm of the weights into a hidden unit, or None.
        learning_rate: The first one; it falls linearly to 0.
        weight_scale: The deviation of initial weights into hidden units, in
            units of fan-in ** -.5.
    """

    hidden: tuple
    activation: str = "relu"
    noise: object = ClassicDropout
    input_rate: object = 0.2
    hidden_rate: object = 0.5
    max_norm: float = None
    learning_rate: float = 0.1
    momentum: float = 0.95
    weight_scale: float = 1.0

    def build(self, num_inputs, updates, seed):
        keras.utils.set_random_seed(seed)
        stack = [keras.Input((num_inputs,)), *self._drop(self.input_rate)]
        for units in self.hidden:
            dense = layers.Dense(
                units,
                activation=self.activation,
                kernel_initializer=_initial(self.weight_scale),
                kernel_constraint=None
                if self.max_norm is None
                else keras.constraints.MaxNorm(self.max_norm, axis=0),
            )
            stack += [dense, *self._drop(self.hidden_rate)]
        last = layers.Dense(
            10, activation="softmax", kernel_initializer=_initial(1.0)
        )
        model = keras.Sequential([*stack, last])
        rate = keras.optimizers.schedules.PolynomialDecay(
            self.learning_rate, updates, end_learning_rate=0.0
        )
        model.compile(
            optimizer=keras.optimizers.SGD(rate, momentum=self.momentum),
            loss="sparse_categorical_crossentropy",
            steps_per_execution=STEPS_PER_CALL,
        )
        return model

    def _drop(self, rate):
        return [] if self.noise is None or rate == 0 else [self.noise(rate)]


def _initial(scale):
    return keras.initializers.VarianceScaling(
        scale**2, "fan_in", "untruncated_normal"
    )


class Row(NamedTuple):
    """A row of a table: the paper's error in percent, if it has one."""

    text: str
    paper: float | None
    network: Network
    averages: bool = False


def _logistic(*hidden, **arguments):
    return Network(hidden, "sigmoid", weight_scale=4.0, **arguments)


def _relu(*hidden, **arguments):
    return Network(hidden, max_norm=2.0, **arguments)


ROWS = {
    "none": Row(
        "Table 2: no dropout, logistic, 2 x 800",
        1.60,
        _logistic(800, 800, noise=None, momentum=0.9, learning_rate=0.03),
    ),
    "logistic": Row(
        "Table 2: dropout, logistic, 3 x 1024",
        1.35,
        _logistic(1024, 1024, 1024),
    ),
    "relu": Row("Table 2: dropout, ReLU, 3 x 1024", 1.25, Network((1024,) * 3)),
    "maxnorm": Row(
        "Table 2: dropout, max-norm, ReLU, 3 x 1024",
        1.06,
        _relu(1024, 1024, 1024),
        averages=True,
    ),
    "bernoulli": Row(
        "Table 10: Bernoulli dropout, ReLU, 2 x 1024", 1.08, _relu(1024, 1024)
    ),
    "gaussian": Row(
        "Table 10: Gaussian dropout, ReLU, 2 x 1024",
        0.95,
        _relu(1024, 1024, noise=GaussianDropout, learning_rate=0.03),
    ),
    "maxnorm-3x2048": Row(
        "Table 2: dropout, max-norm, ReLU, 3 x 2048",
        None,
        _relu(2048, 2048, 2048),
    ),
    "maxnorm-2x4096": Row(
        "Table 2: dropout, max-norm, ReLU, 2 x 4096", 1.01, _relu(4096, 4096)
    ),
    "maxnorm-2x8192": Row(
        "Table 2: dropout, max-norm, ReLU, 2 x 8192", 0.95, _relu(8192, 8192)
    ),
}
SWEEPS = ("keep-n", "keep-pn", "sizes")
SCHEDULED = "scheduled"
MAIN_ROWS = ("maxnorm", "none", "relu", "logistic", "bernoulli", "gaussian")

KEEP = (0.1, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
SIZES = (100, 500, 1000, 5000, 10000, 50000)


def points(sweep):
    """The networks of a sweep: label, network, number of images or None."""
    if sweep == "sizes":
        for size in SIZES:
            yield f"{size} images, dropout", _relu(512, 512), size
            yield f"{size} images, none", _relu(512, 512, noise=None), size
        return
    for keep in KEEP:
        units = (512,) * 3
        if sweep == "keep-pn":
            units = tuple(round(kept / keep) for kept in (64, 64, 128))
        network = _relu(*units, input_rate=0.0, hidden_rate=1.0 - keep)
        yield f"p = {keep}", network, None


def candidates(updates):
    """Schedules of the hidden layers' rate, by what they are called."""
    late = max(1, updates * 9 // 10)
    return {
        "constant .5": 0.5,
        "falling .7 to .3": schedules.Linear(0.7, 0.3, updates),
        "falling .5 to 0": schedules.Linear(0.5, 0.0, updates),
        "rising .3 to .7": schedules.Linear(0.3, 0.7, updates),
        ".5, the last tenth 0": schedules.Join([0.5, 0.0], [late]),
    }


def scheduled_network(rate):
    """The network of maxnorm in the inverted form.

    At a constant rate, classic dropout with probability p to keep and max-norm
    c computes what inverted dropout with max-norm `p * c` does, so hidden
    layers have the bound of the second and third of maxnorm, where p is .5.
    Inverted, since a classic network would grow its activations when the rate
    falls.
    """
    return Network(
        (1024,) * 3,
        noise=Dropout,
        hidden_rate=rate,
        max_norm=1.0,
        learning_rate=0.03,
    )


def order(num_images, seed, chunk):
    """Which images the batches of a chunk have: permutation by permutation."""
    draw = np.random.default_rng([seed, chunk])
    count = CHUNK * BATCH_SIZE
    passes = -(-count // num_images)
    return np.concatenate(
        [draw.permutation(num_images) for _ in range(passes)]
    )[:count]


class Fit:
    """Updates by `fit`, for any backend.

    Args:
        model: A compiled model.
        data: Images and classes.
    """

    def __init__(self, model, data):
        self._model = model
        self._data = data

    def __call__(self, order):
        """Updates the model once for each batch; returns the last loss."""
        images, labels = (part[order.reshape(-1)] for part in self._data)
        history = self._model.fit(
            images, labels, batch_size=BATCH_SIZE, shuffle=False, verbose=0
        )
        return history.history["loss"][-1]

    def put_back(self):
        """The model has it all."""


class Unfinished(Exception):
    """The time that was given is over; a checkpoint has what was done."""


def trained(
    network,
    data,
    updates,
    seed,
    checkpoint,
    loop=Fit,
    seconds=None,
    between=0.0,
):
    """A trained model, and the seconds that it took since it was resumed.

    Args:
        loop: What makes the updates: `Fit`, or `CompiledLoop` on JAX.
        seconds: After so many, a checkpoint is written and `Unfinished`
            raised; None for no end.
        between: Seconds from one checkpoint to the next, at least.
    """
    images, _ = data
    if checkpoint.exists():
        model = keras.models.load_model(checkpoint)
    else:
        model = network.build(images.shape[1], updates, seed)
    begun = int(model.optimizer.iterations)
    run = loop(model, data)
    start = saved = time.perf_counter()
    for done in range(begun, updates, CHUNK):
        chosen = order(len(images), seed, done // CHUNK)
        chosen = chosen[: (updates - done) * BATCH_SIZE]
        loss = run(chosen.reshape(-1, BATCH_SIZE))
        now = min(done + CHUNK, updates)
        clock = time.perf_counter()
        is_over = seconds is not None and clock - start >= seconds
        if clock - saved >= between or is_over or now == updates:
            run.put_back()
            _save(model, checkpoint)
            left = (clock - start) / (now - begun) * (updates - now)
            print(
                f"  {now:7} of {updates} updates, loss {loss:.4f}, "
                f"{left:.0f} s left",
                flush=True,
            )
            saved = time.perf_counter()
        if is_over and now < updates:
            raise Unfinished(f"{now} of {updates} updates are made")
    return model, time.perf_counter() - start


def _save(model, path):
    # A file is there whole or not at all.
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"unfinished_{path.name}")
    model.save(beside)
    beside.replace(path)


def error(probabilities, labels):
    """Percent of rows whose most probable class is not the label."""
    wrong = np.argmax(probabilities, axis=-1) != labels
    return round(100.0 * float(np.mean(wrong)), 4)


def scaled_error(model, data):
    """The error in percent of one pass with weight scaling."""
    images, labels = data
    return error(model.predict(images, batch_size=1000, verbose=0), labels)


def averages(model, data, num_samples, seed):
    """Figure 11: the error of averages over k passes, mean and deviation.

    Of `num_samples` passes, k are drawn with replacement and averaged, 100
    times for each k up to their number. (The authors' script averages in
    place, so that its repeats are not independent; here they are.)
    """
    images, labels = data
    result = kerasdrop.mc_predict(
        model,
        images,
        num_samples=num_samples,
        seed=seed,
        plan="independent",
        keep_samples=True,
        batch_size=250,
        verbose=0,
    )
    samples = np.moveaxis(np.asarray(result.samples), 1, 0)
    draw = np.random.default_rng(seed)
    means, deviations = [], []
    for k in range(1, min(num_samples, MOST_AVERAGED) + 1):
        # How often each pass is drawn, not which: then a product adds them up.
        counts = draw.multinomial(
            k, np.full(num_samples, 1 / num_samples), size=REPEATS
        )
        sums = np.tensordot(counts.astype("float32"), samples, axes=1)
        errors = [error(summed, labels) for summed in sums]
        means.append(round(float(np.mean(errors)), 4))
        deviations.append(round(float(np.std(errors)), 4))
    return {
        "passes": num_samples,
        "repeats": REPEATS,
        "mean": means,
        "standard deviation": deviations,
        "all passes": error(samples.mean(axis=0), labels),
    }


class Benchmark:
    """Runs what the results do not have yet, and keeps each as it comes."""

    def __init__(self, options, report):
        self.options = options
        self.report = report
        self._begun = time.perf_counter()
        self.train, self.test = mnist_data.load(options.data)
        self.to_learn, self.to_choose = mnist_data.split(self.train)

    def run(self, row):
        for seed in self.options.seeds:
            if row == SCHEDULED:
                self._schedules(seed)
            elif row in SWEEPS:
                updates = max(1, self.options.updates // 3)
                for label, network, size in points(row):
                    data = self.train
                    if size is not None:
                        data = tuple(part[:size] for part in data)
                    self._tested(row, label, network, data, updates, seed)
            else:
                _, _, network, is_averaged = ROWS[row]
                self._tested(
                    row,
                    None,
                    network,
                    self.train,
                    self.options.updates,
                    seed,
                    is_averaged,
                )

    def choose(self, row):
        """The validation error of each learning rate."""
        updates = min(CHOICE_UPDATES, self.options.updates)
        network = (
            scheduled_network(0.5) if row == SCHEDULED else ROWS[row].network
        )
        for rate in LEARNING_RATES:
            self._validated(
                f"choice {row}",
                f"learning rate {rate}",
                network._replace(learning_rate=rate),
                updates,
                seed=0,
            )

    def _schedules(self, seed):
        updates = self.options.updates
        found = {}
        for label, rate in candidates(updates).items():
            network = scheduled_network(rate)
            record = self._validated(SCHEDULED, label, network, updates, seed)
            found[label] = record["validation error"]
        best = min(found, key=found.get)
        network = scheduled_network(candidates(updates)[best])
        self._tested(
            SCHEDULED, f"chosen: {best}", network, self.train, updates, seed
        )

    def _validated(self, row, label, network, updates, seed):
        def measure(model):
            return {"validation error": scaled_error(model, self.to_choose)}

        return self._record(
            row, label, network, self.to_learn, updates, seed, measure
        )

    def _tested(
        self, row, label, network, data, updates, seed, is_averaged=False
    ):
        def measure(model):
            found = {"test error": scaled_error(model, self.test)}
            if is_averaged:
                found["averages"] = averages(
                    model, self.test, self.options.samples, seed
                )
            return found

        return self._record(row, label, network, data, updates, seed, measure)

    def _how(self):
        """The last arguments of `trained`."""
        left = None
        if self.options.seconds is not None:
            left = self.options.seconds - (time.perf_counter() - self._begun)
        if self.options.compiled_loop:
            return compiled_loop.CompiledLoop, left, SECONDS_BETWEEN
        return Fit, left, 0.0

    def _record(self, row, label, network, data, updates, seed, measure):
        key = {"row": row, "point": label, "updates": updates, "seed": seed}
        for record in self.report["records"]:
            if all(record[name] == value for name, value in key.items()):
                return record
        print(f"{row}, {label or 'all images'}, seed {seed}", flush=True)
        if self.options.quick:
            hidden = tuple(max(1, units // 16) for units in network.hidden)
            network = network._replace(hidden=hidden)
        name = f"{row} {label or ''} {updates} {seed}.keras"
        checkpoint = self.options.checkpoints / name
        model, seconds = trained(
            network, data, updates, seed, checkpoint, *self._how()
        )
        record = {
            **key,
            "images": len(data[0]),
            "learning rate": network.learning_rate,
            "seconds": round(seconds, 1),
            "date": datetime.date.today().isoformat(),
            **measure(model),
        }
        shown = {name: record[name] for name in record if "error" in name}
        print(f"  {shown}, {seconds:.0f} s", flush=True)
        self.report["records"].append(record)
        self.report.update(reporting.taken())
        reporting.keep(NAME, self.report, self.options.output)
        checkpoint.unlink(missing_ok=True)
        return record


SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)  # of the averages


def tables(report):
    """The tables of what there is and the places of its plots, a string."""
    groups = {}
    for record in report["records"]:
        key = record["row"], record["updates"]
        groups.setdefault(key, {}).setdefault(record["point"], []).append(
            record
        )
    kinds = {
        "Rows of Tables 2 and 10: test error in percent": _main_table,
        "Figure 11: test error of the average over k passes": _averages_table,
        "Figure 9, p being the probability to keep a hidden unit": _keep_table,
        "Figure 10: test error by the number of training images": _sizes_table,
        "Scheduled rates: error in percent": _scheduled_table,
        "Learning rates: validation error in percent": _choices_table,
    }
    plots = {
        _averages_table: "srivastava_figure_11",
        _keep_table: "srivastava_figure_9",
        _sizes_table: "srivastava_figure_10",
    }
    parts = []
    for heading, table in kinds.items():
        lines = list(table(groups))
        if len(lines) > 1:
            parts.append(f"### {heading}")
            if table in plots:
                parts.append(plotting.link(plots[table], heading))
            parts.append(markdown.markdown(lines[0], lines[1:]))
    return "\n\n".join([*parts, markdown.source(report)])


def _errors(records, name="test error"):
    """Their mean and spread, or nothing of none."""
    values = [record[name] for record in records]
    return markdown.spread(values, 2) if values else ""


def _updates(groups, row):
    """The numbers of updates that there are results of a row for."""
    return sorted(updates for name, updates in groups if name == row)


def _main_table(groups):
    yield ["row", "paper", "here", "updates", "seeds"]
    for row, (text, paper, _, _) in ROWS.items():
        for updates in _updates(groups, row):
            records = groups[row, updates][None]
            yield [
                text,
                "" if paper is None else f"{paper:.2f}",
                _errors(records),
                f"{updates:,}",
                str(len(records)),
            ]


def _averages_table(groups):
    yield ["updates, seed", "weight scaling", *(f"k = {k}" for k in SHOWN)]
    for updates in _updates(groups, "maxnorm"):
        for record in groups["maxnorm", updates][None]:
            found = record["averages"]
            pairs = list(zip(found["mean"], found["standard deviation"]))
            yield [
                f"{updates:,}, {record['seed']}",
                f"{record['test error']:.2f}",
                *(
                    "{:.2f} ± {:.2f}".format(*pairs[k - 1])
                    if k <= len(pairs)
                    else ""
                    for k in SHOWN
                ),
            ]


def _keep_table(groups):
    yield ["", "updates", *(f"p = {keep}" for keep in KEEP)]
    for row, text in (("keep-n", "n = 512"), ("keep-pn", "pn = 64, 64, 128")):
        for updates in _updates(groups, row):
            found = groups[row, updates]
            yield [
                text,
                f"{updates:,}",
                *(_errors(found.get(f"p = {keep}", [])) for keep in KEEP),
            ]


def _sizes_table(groups):
    yield ["", "updates", *(f"{size:,}" for size in SIZES)]
    for updates in _updates(groups, "sizes"):
        found = groups["sizes", updates]
        for kind in ("none", "dropout"):
            yield [
                kind,
                f"{updates:,}",
                *(
                    _errors(found.get(f"{size} images, {kind}", []))
                    for size in SIZES
                ),
            ]


def _scheduled_table(groups):
    yield ["rate of the hidden layers", "updates", "validation", "test"]
    for updates in _updates(groups, SCHEDULED):
        for point, records in groups[SCHEDULED, updates].items():
            tested = "test error" in records[0]
            name = "test error" if tested else "validation error"
            cells = ["", _errors(records, name)]
            yield [point, f"{updates:,}", *(cells if tested else cells[::-1])]


def _choices_table(groups):
    yield ["row", "updates", *map(str, LEARNING_RATES)]
    for row in (*ROWS, SCHEDULED):
        for updates in _updates(groups, f"choice {row}"):
            found = groups[f"choice {row}", updates]
            yield [
                row,
                f"{updates:,}",
                *(
                    _errors(
                        found.get(f"learning rate {rate}", []),
                        "validation error",
                    )
                    for rate in LEARNING_RATES
                ),
            ]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        help=f"the folder that has {mnist_data.FILE}",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=(*ROWS, *SWEEPS, SCHEDULED),
        default=MAIN_ROWS,
        metavar="ROW",
    )
    parser.add_argument("--updates", type=command_line.count, default=9000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--samples",
        type=command_line.count,
        default=1000,
        help="passes of Figure 11",
    )
    parser.add_argument("--compiled-loop", action="store_true")
    parser.add_argument(
        "--seconds", type=float, help="of training, before this run ends"
    )
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument(
        "--checkpoints",
        type=pathlib.Path,
        default=pathlib.Path("output/srivastava_mnist"),
    )
    options = parser.parse_args()
    if options.quick:
        options.updates, options.samples = 20, 20
    if options.quick and not options.output:
        options.output = options.checkpoints / "quick.json"
    if options.compiled_loop and reporting.BACKEND != "jax":
        parser.error(
            "--compiled-loop is for JAX: set KERAS_BACKEND=jax. Received: "
            f"{reporting.BACKEND}"
        )
    if not options.show and not options.data:
        parser.error("--data is missing: the folder that has mnist.npz")
    return options


def main():
    options = parse_arguments()
    path = options.output or reporting.path(NAME)
    report = {"unit": "percent of the images", "records": []}
    if path.exists() or options.show:
        report = reporting.kept(path)
    if not options.show:
        benchmark = Benchmark(options, report)
        try:
            for row in options.rows:
                (benchmark.choose if options.choose else benchmark.run)(row)
        except Unfinished as unfinished:
            print(f"{unfinished}. Run this again to go on.")
            raise SystemExit(UNFINISHED) from None
        report = benchmark.report
    print(tables(report))
    if options.show:
        plotting.write(srivastava_plots.figures(report), report)
        markdown.write(__file__, tables(report))


if __name__ == "__main__":
    main()
