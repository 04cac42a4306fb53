"""Monte Carlo dropout here and elsewhere: one network, one process, PyTorch.

    KERAS_BACKEND=torch python -m benchmarks.peers.peers [--parts facts times]

The script compares `kerasdrop.MonteCarlo` with the usual loops in Keras,
`model(x, training=True)`, and in PyTorch, `module.train()`; with the usual
recipe in Keras, which calls dropout with `training=True` and then uses
`predict`; and with baal and torch-uncertainty. It leaves out packages that are
not installed:

    pip install baal torch-uncertainty scikit-learn

Each network is written in Keras and in `torch.nn`, with the same weights. Each
run checks that both give the same outputs without dropout. There are four
parts:

- facts: which layers draw, what changes in the network, and what a seed
  determines, each by the check that the results name
  (benchmarks/peers/peer_facts.py);
- times: for the mean and the variance of `SAMPLES` samples of one batch. All
  take turns, round after round; a ratio is the median of the rounds' ratios;
- peaks: the memory that the same adds to its own process (Linux);
- errors: of the mean of 32 samples. For a network with 12 units that drop, the
  reference is the sum over all 4096 masks; for a larger network it is 100,000
  samples drawn by PyTorch. The errors are averaged over seeds, with a standard
  error.

The script writes the tables to standard output and to
`benchmarks/results/peers_torch.json`; parts that are not run again stay in it.
`--show` puts the tables of the results into docs/benchmarks/.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from sklearn.datasets import load_digits

from benchmarks.peers import contenders
from benchmarks.peers import peer_facts
from benchmarks.peers import twins
from benchmarks.support import command_line
from benchmarks.support import markdown
from benchmarks.support import reporting

NAME = "peers"
PARTS = ("facts", "times", "peaks", "errors")
SAMPLES = (10, 100, 1000)
ROUNDS = {10: 15, 100: 9, 1000: 3}

# One of each, for the facts and the errors.
KINDS = (
    "kerasdrop",
    "Keras loop",
    "Keras recipe",
    "torch loop",
    "baal",
    "torch-uncertainty",
)

ERROR_SAMPLES = 32
ERROR_ROWS = 16
REFERENCE = 100_000
REFERENCE_AT_ONCE = 500
BAR = 2.0


def digits():
    """scikit-learn's digits: `(rows, 64)` in [0, 1], and classes."""
    x, y = load_digits(return_X_y=True)
    return (x / 16.0).astype("float32"), y


def trained_mlp(num_rows, units=512, rate=0.5):
    """A twin that was trained, and as inputs rows held out of it."""
    x, y = digits()

    def train(model):
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x[num_rows:], y[num_rows:], epochs=10, verbose=0)

    return twins.mlp(x[:num_rows], units, rate=rate, prepare=train)


NETWORKS = {
    "MLP": lambda: twins.mlp(digits()[0][:32]),
    "convnet": twins.convnet,
    "convnet of 3 channels": lambda: twins.convnet(channels=3),
}


def times(sizes, rounds):
    """The rows of the times: for each network and number of samples one."""
    rows = []
    for network, make in NETWORKS.items():
        for num_samples in sizes:
            seconds = rounds_of(make, num_samples, rounds[num_samples])
            rows.append(
                {
                    "network": network,
                    "samples": num_samples,
                    "rounds": rounds[num_samples],
                    "seconds": {
                        name: significant(statistics.median(values))
                        for name, values in seconds.items()
                    },
                    "over kerasdrop": {
                        name: significant(
                            statistics.median(
                                other / ours
                                for other, ours in zip(
                                    values, seconds["kerasdrop"]
                                )
                            )
                        )
                        for name, values in seconds.items()
                    },
                }
            )
            print(rows[-1], flush=True)
    return rows


def timed():
    """The contenders whose time and memory are taken: those that draw."""
    skipped = ("Keras recipe", "kerasdrop, independent")
    return {
        name: kind
        for name, kind in contenders.installed().items()
        if name not in skipped
    }


def rounds_of(make, num_samples, rounds):
    """Seconds of each contender: for each a list, one for each round."""
    # Some change the network that they are given, so each has its own.
    runs = {}
    for name, kind in timed().items():
        contender = kind(make(), num_samples)
        runs[name] = contender.summary
    x = contender.twin.x
    for run in runs.values():
        run(x)
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def significant(value):
    return float(f"{value:.3g}")


def peaks(sizes):
    """The rows of the memory: for each network and number of samples one."""
    rows = []
    for network in NETWORKS:
        for num_samples in sizes:
            found = {
                name: peak_in_a_process(network, name, num_samples)
                for name in timed()
            }
            rows.append(
                {"network": network, "samples": num_samples, "MiB": found}
            )
            print(rows[-1], flush=True)
    return rows


def peak_in_a_process(network, contender, num_samples):
    command = [
        sys.executable,
        "-m",
        __spec__.name,
        "--peak",
        network,
        contender,
    ]
    done = subprocess.run(
        [*command, str(num_samples)], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def peak(network, contender, num_samples):
    """MiB that one summary adds, at its peak, to this process."""
    there = contenders.CONTENDERS[contender]
    # A few samples first: what is loaded on the way is not counted.
    there(NETWORKS[network](), 2).summary(NETWORKS[network]().x)
    one = there(NETWORKS[network](), num_samples)
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    one.summary(one.twin.x)
    return round((status("VmHWM") - before) / 1024, 1)


def status(name):
    """A line of the memory of this process, in KiB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/self/status has no line {name!r}.")


def errors(num_seeds, num_reference):
    """The rows of the errors, for each network a row of each contender."""
    small = trained_mlp(ERROR_ROWS, units=6, rate=0.2)
    large = trained_mlp(ERROR_ROWS)
    networks = {
        "12 units, rate 0.2; exact": (small, enumerated(small, 0.2)),
        "1024 units, rate 0.5": (large, reference(large, num_reference)),
    }
    rows = []
    for network, (twin, true) in networks.items():
        squares = squared_errors(twin, true, num_seeds)
        for name, values in squares.items():
            rows.append(
                {
                    "network": network,
                    "samples": ERROR_SAMPLES,
                    "contender": name,
                    "RMS error": root_mean(values),
                    "squared error over kerasdrop": ratio(
                        values, squares["kerasdrop"]
                    ),
                }
            )
            print(rows[-1], flush=True)
    return rows


def squared_errors(twin, true, num_seeds):
    """For each contender the squared error of the mean, one for each seed."""
    found = {}
    names = ("kerasdrop, independent", *KINDS)
    kinds = contenders.installed()
    for name in [name for name in names if name in kinds]:
        if name == "Keras recipe":
            continue  # it draws nothing
        contender = kinds[name](twin, ERROR_SAMPLES)
        means = []
        for seed in range(num_seeds):
            contender.seed(seed)
            means.append(contender.summary(twin.x)[0])
        contender.go_back()
        found[name] = ((np.stack(means) - true) ** 2).mean(axis=(1, 2))
    return found


def enumerated(twin, rate):
    """The exact mean of a small `mlp` over all masks, `(rows, outputs)`.

    In NumPy, in float64: each mask of both layers, times its probability.
    """
    weights = [array.astype("float64") for array in twin.model.get_weights()]
    kernel, bias, inner_kernel, inner_bias, last_kernel, last_bias = weights
    units = len(bias)
    kept = np.array(list(np.ndindex(*[2] * units)))
    kept_by = kept.sum(axis=1)
    probability = (1 - rate) ** kept_by * rate ** (units - kept_by)
    noise = kept / (1 - rate)
    mean = 0.0
    hidden = np.maximum(twin.x @ kernel + bias, 0.0)
    for chance, factor in zip(probability, noise):
        inner = np.maximum(hidden * factor @ inner_kernel + inner_bias, 0.0)
        logits = inner * noise[:, None] @ last_kernel + last_bias
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        outputs = powers / powers.sum(axis=-1, keepdims=True)
        mean += chance * np.tensordot(probability, outputs, 1)
    return mean


def reference(twin, num_samples):
    """The mean of many samples that PyTorch draws, `(rows, outputs)`."""
    torch.manual_seed(10**6)
    at_once = min(REFERENCE_AT_ONCE, num_samples)
    tensor = twin.tensor().repeat(at_once, 1)
    calls = num_samples // at_once
    mean = 0.0
    twin.module.train()
    with torch.no_grad():
        for _ in range(calls):
            draws = twin.module(tensor).unflatten(0, (at_once, -1))
            mean += draws.double().mean(0) / calls
    twin.module.eval()
    return mean.numpy()


def root_mean(squares):
    """The root of a mean over seeds, and its standard error."""
    value = squares.mean() ** 0.5
    error = squares.std(ddof=1) / len(squares) ** 0.5 / (2.0 * value)
    return {"value": significant(value), "standard error": significant(error)}


def ratio(numerators, denominators):
    """The ratio of two means over the same seeds, and its standard error."""
    above, below = numerators.mean(), denominators.mean()
    deviations = numerators / above - denominators / below
    error = above / below * deviations.std(ddof=1) / len(deviations) ** 0.5
    return {
        "value": significant(above / below),
        "standard error": significant(error),
    }


def bars(rows):
    """Whether the others have twice the squared error or more."""
    for row in rows:
        if not row["contender"].startswith("kerasdrop"):
            value = row["squared error over kerasdrop"]["value"]
            yield {
                "bar": f"{row['network']}: squared error of "
                f"{row['contender']} over kerasdrop's at least {BAR}",
                "value": value,
                "holds": value >= BAR,
            }


def tables(report):
    """The tables of the parts that there are, a string."""
    shown = {
        "facts": facts_table,
        "times": times_table,
        "peaks": peaks_table,
        "errors": errors_table,
    }
    parts = []
    for name in PARTS:
        if name in report:
            part = report[name]
            parts += [shown[name](part["rows"]), _source(part)]
    return "\n\n".join(parts)


def _source(part):
    versions = ", ".join(
        f"{name} {version}"
        for name, version in part["versions"].items()
        if name not in ("kerasdrop", "python")
    )
    missing = part["not installed"]
    without = f" Not installed: {', '.join(missing)}." if missing else ""
    return (
        f"(Results of {part['date']}, {versions}, "
        f"{part['machine']['cores']} CPU cores.{without})"
    )


def facts_table(rows):
    names = list(rows[0]["found"])
    lines = []
    for row in rows:
        found = [row["found"][name] for name in names]
        lines.append([row["fact"], *(_short(value) for value in found)])
    checks = dict.fromkeys(row["check"] for row in rows)
    first = {
        check: next(row["fact"] for row in rows if row["check"] == check)
        for check in checks
    }
    notes = [
        f"- {fact.split(':')[0]}: {check}." for check, fact in first.items()
    ]
    table = markdown.markdown(["", *names], lines)
    return f"{table}\n\nHow each was checked:\n\n" + "\n".join(notes)


def _short(value):
    """A finding without the text of its warning or error."""
    if value is None:
        return ""
    if value.startswith("error: "):
        return "refuses"
    return value.split(", warns: ")[0] + (
        ", and warns" if ", warns: " in value else ""
    )


def times_table(rows):
    names = list(rows[0]["seconds"])
    lines = [
        [
            f"{row['network']}, {row['samples']}",
            *(
                f"{1e3 * row['seconds'][name]:.6g}"
                + (
                    ""
                    if name == "kerasdrop"
                    else f" ({row['over kerasdrop'][name]:.2f})"
                )
                for name in names
            ),
        ]
        for row in rows
    ]
    return markdown.markdown(["milliseconds (over kerasdrop)", *names], lines)


def peaks_table(rows):
    names = list(rows[0]["MiB"])
    lines = [
        [
            f"{row['network']}, {row['samples']}",
            *(f"{row['MiB'][name]:.0f}" for name in names),
        ]
        for row in rows
    ]
    return markdown.markdown(["peak memory, MiB", *names], lines)


def errors_table(rows):
    lines = []
    for row in rows:
        error, over = row["RMS error"], row["squared error over kerasdrop"]
        lines.append(
            [
                row["network"],
                row["contender"],
                f"{1e3 * error['value']:.3g} ± "
                f"{1e3 * error['standard error']:.2g}",
                ""
                if row["contender"] == "kerasdrop"
                else f"{over['value']:.2f} ± {over['standard error']:.2f}",
            ]
        )
    header = [
        "network",
        "contender",
        f"1000 x RMS error of the mean of {ERROR_SAMPLES} samples",
        "squared error over kerasdrop's",
    ]
    return markdown.markdown(header, lines)


def taken():
    kinds = contenders.installed()
    packages = {kind.package for kind in kinds.values()} - {None}
    return {
        **reporting.taken("scikit-learn", *sorted(packages)),
        "not installed": contenders.left_out(),
    }


def measured(part, quick, num_seeds):
    """The rows of one part, and when and on what they were taken."""
    kinds = contenders.installed()
    kinds = {name: kinds[name] for name in KINDS if name in kinds}
    sizes = SAMPLES[:1] if quick else SAMPLES
    rounds = dict.fromkeys(SAMPLES, 2) if quick else ROUNDS
    reference_samples = 2000 if quick else REFERENCE
    run = {
        "facts": lambda: peer_facts.facts(kinds),
        "times": lambda: times(sizes, rounds),
        "peaks": lambda: peaks(sizes),
        "errors": lambda: errors(num_seeds, reference_samples),
    }[part]
    return {**taken(), "rows": run()}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=command_line.count, default=200)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a try")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    if options.quick:
        options.seeds = 10
        if not options.output:
            parser.error("--quick needs an --output: it is no result")
    return options


def main():
    options = parse_arguments()
    if reporting.BACKEND != "torch":
        raise SystemExit(
            "The peers run on PyTorch, and so must Keras: set "
            f"KERAS_BACKEND=torch. Received: {reporting.BACKEND}"
        )
    if options.peak:
        network, contender, num_samples = options.peak
        print(peak(network, contender, int(num_samples)))
        return
    path = options.output or reporting.path(NAME)
    if options.show:
        markdown.write(__file__, tables(reporting.kept(path)))
        return
    report = json.loads(path.read_text()) if path.exists() else {}
    for part in options.parts:
        report[part] = measured(part, options.quick, options.seeds)
        if part == "errors":
            report[part]["bars"] = list(bars(report[part]["rows"]))
            reporting.show_bars(report[part]["bars"])
        reporting.keep(NAME, report, options.output)
    print(tables(report))


if __name__ == "__main__":
    main()
