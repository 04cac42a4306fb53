"""Runs the tests once for each backend, each in a process of its own.

Prints the totals of each backend. Fails if a test failed, if a backend ran no
test at all, or if its tests could not be collected.
"""

import argparse
import dataclasses
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from xml.etree import ElementTree

BACKENDS = ("tensorflow", "jax", "torch")

# Compiling takes most of the time on JAX, and models as small as those of the
# tests do not repay its costly passes. `make test-full` has them.
#
# PyTorch takes a thread for each core, and its threads wait for each other
# while they use their cores. On two busy cores, two processes of two threads
# took more than twice the time that they took with one thread each.
_FASTER = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "OMP_NUM_THREADS": "1"}

# XLA's older emitters compile a small network in a third of the time that its
# new ones take, and a single operation in two thirds. TensorFlow has them too:
# Keras compiles what trains a model. An unknown flag ends a process, so a first
# one tries them.
_XLA_FLAGS = (
    "--xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
    " --xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true"
)
_TRIALS = {
    "jax": "import jax; jax.jit(lambda x: x + 1)(1)",
    "tensorflow": "import tensorflow as tf;"
    "tf.function(lambda x: x + 1, jit_compile=True)(tf.ones(1))",
}


# Compiling takes two thirds of the time of the tests on JAX, so what was
# compiled is kept, for the other processes too. JAX does not write a file in
# one piece: who reads a half of it finds out, and compiles (pyproject.toml has
# the warning).
COMPILED = pathlib.Path(__file__).parents[1] / "output" / "compiled"


@dataclasses.dataclass(frozen=True)
class Totals:
    """What one backend's run came to."""

    backend: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    exit_status: int

    @property
    def good(self):
        return self.exit_status == 0 and self.failed == 0 and self.passed > 0

    def __str__(self):
        text = (
            f"{self.backend}: {self.passed} passed, {self.failed} failed, "
            f"{self.skipped} skipped in {self.seconds:.0f} s"
        )
        if self.passed + self.failed == 0:
            text += " - NO TEST RAN"
        elif not self.good:
            text += f" - FAILED (exit status {self.exit_status})"
        return text


def totals_of_report(backend, report, seconds, exit_status):
    """Reads the totals from pytest's XML report, which may be missing."""
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.exists():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            for name in counts:
                counts[name] += int(suite.get(name))
    failed = counts["failures"] + counts["errors"]
    return Totals(
        backend=backend,
        passed=counts["tests"] - failed - counts["skipped"],
        failed=failed,
        skipped=counts["skipped"],
        seconds=seconds,
        exit_status=exit_status,
    )


def faster(backend):
    """The settings that tests take less time with.

    Args:
        backend: String.

    Returns:
        A dictionary of environment variables. What the environment has already
        goes before.
    """
    if backend not in _TRIALS or "XLA_FLAGS" in os.environ:
        return _FASTER
    flags = {"XLA_FLAGS": _XLA_FLAGS}
    trial = subprocess.run(
        [sys.executable, "-c", _TRIALS[backend]],
        env={**os.environ, **flags},
        capture_output=True,
        check=False,
    )
    if trial.returncode != 0:
        print(f"XLA takes no {_XLA_FLAGS}, so compiling takes longer.")
        return _FASTER
    return {**_FASTER, **flags}


def run_backend(backend, pytest_arguments, shared):
    """Runs pytest on one backend; returns its totals.

    Args:
        backend: String.
        pytest_arguments: List of strings.
        shared: A folder in which the backends leave their numbers, models and
            masks for the ones that run after them to compare with.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "report.xml"
        start = time.monotonic()
        result = subprocess.run(
            [
                *(sys.executable, "-m", "pytest"),
                *("--quiet", "--durations=10", f"--junit-xml={report}"),
                # Compiling takes most of the time, and one core each.
                f"--numprocesses={min(os.cpu_count(), 4)}",
                # The tests of a file share what one of them has compiled.
                "--dist=loadfile",
                # In their order: those of most tests first would leave files of
                # few long ones to the end, when one process has no more to do.
                "--no-loadscope-reorder",
                *pytest_arguments,
            ],
            env={
                **faster(backend),
                **os.environ,
                "KERAS_BACKEND": backend,
                "KERASDROP_SHARED": shared,
            },
            check=False,
        )
        seconds = time.monotonic() - start
        return totals_of_report(backend, report, seconds, result.returncode)


def verdict(runs):
    """The last line: whether all is well, and with how many tests."""
    names = ", ".join(run.backend for run in runs)
    if all(run.good for run in runs):
        passed = sum(run.passed for run in runs)
        return f"PASSED: {passed} tests on {names}"
    names = ", ".join(run.backend for run in runs if not run.good)
    return f"FAILED: on {names}"


def versions(backend):
    """The versions that a recorded result of a backend holds for."""
    names = {
        "tensorflow": ("tensorflow", "tensorflow-cpu"),
        "jax": ("jax",),
        "torch": ("torch",),
    }
    found = [f"python {platform.python_version()}"]
    for name in ("keras", *names[backend], "numpy"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def record(path, run, pytest_arguments):
    """Writes a backend's line; keeps the lines of the other backends.

    Args:
        path: Path of the record, which may be missing.
        run: Its `Totals`.
        pytest_arguments: List of strings: what was chosen from the tests.
    """
    lines = {}
    if path.exists():
        for line in path.read_text().splitlines():
            lines[line.partition(":")[0]] = line
    what = shlex.join(["pytest", *pytest_arguments])
    lines[run.backend] = (
        f"{run}; {'PASSED' if run.good else 'FAILED'} on "
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, "
        f"{versions(run.backend)}; {what}"
    )
    kept = [lines[name] for name in BACKENDS if name in lines]
    path.write_text("\n".join(kept) + "\n")


def main(arguments=None):
    """Returns the exit status: 0 if all is well, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--backend",
        action="append",
        choices=BACKENDS,
        help="run on this backend only (may be repeated)",
    )
    parser.add_argument(
        "--record",
        type=pathlib.Path,
        help="a text file with a line for each backend: that of each backend "
        "that runs is replaced",
    )
    options, pytest_arguments = parser.parse_known_args(arguments)
    runs = []
    with tempfile.TemporaryDirectory() as shared:
        for backend in options.backend or BACKENDS:
            print(f"--- {backend}", flush=True)
            run = run_backend(backend, pytest_arguments, shared)
            runs.append(run)
            # At once: the next one may take an hour, or be stopped.
            if options.record is not None:
                record(options.record, run, pytest_arguments)
    summary = "\n".join([*(str(run) for run in runs), verdict(runs)])
    print(f"--- totals\n{summary}", flush=True)
    return 0 if all(run.good for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
