"""Everything that is to be measured on a GPU, in one run: `make gpu`.

    python -m benchmarks.gpu.gpu [--output DIR] [--data DIR] [--dry-run]

On a machine whose Python has builds of PyTorch or JAX for its GPU:

1. known answers: masks, closed forms and the common table of the layers, by
   pytest, with full float32 precision of products;
2. the benchmarks `passes` (`masks` at a GPU's sizes), `montecarlo`,
   `training_step` and `masks`;
3. PyTorch's peak memory of a training step, with and without dropout;
4. with `--data`, the folder of `mnist.npz`: two rows of `srivastava_mnist` at a
   million updates, on JAX. A run trains for four minutes at most; the next one
   goes on.

Each step is a process of its own, with a limit of its own, and writes its
results at once: one that fails or takes too long does not stop the others. 1
to 3 take `--seconds` at most, in all. Then each bar is printed: held, missed,
or not measured.

`--dry-run` takes tiny sizes, on whatever device there is, and keeps nothing:
it tells whether all would run.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from benchmarks.gpu import bars

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "gpu"
CHECKPOINTS = ROOT / "output" / "gpu"
BACKENDS = ("torch", "jax")

SECONDS = 360.0
PAPER_SECONDS = 240.0
# Of these the training takes so many; what is left is for its end.
_TRAINING_SECONDS = 200.0
# For a step of a dry run: the limits are for another machine.
PATIENCE = 600.0
UPDATES = 1_000_000

_COMMON = "tests/layers/test_common.py::test_"
ANSWERS = (
    "tests/masks/test_masks.py",
    "tests/backend/test_torch_kernel_on_gpu.py",
    "tests/montecarlo/test_closed_forms.py",
    f"{_COMMON}outputs_are_those_of_the_formula_under_the_known_words",
    f"{_COMMON}a_monte_carlo_pass_draws_it",
)
# Rounded products would be taken for wrong answers.
EXACT = {
    "NVIDIA_TF32_OVERRIDE": "0",
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
}

# Prints a GPU's name, if the backend has one.
_ASK = """
from benchmarks.support import reporting
print(reporting.gpu_name() or "")
"""


class Step(NamedTuple):
    """A process to run.

    Attributes:
        name: String; its results are in `<name>_<backend>`.
        backend: String.
        arguments: Those of Python.
        seconds: How long it may take.
        environment: Variables besides.
    """

    name: str
    backend: str
    arguments: tuple
    seconds: float
    environment: dict


def steps(backends, folder, is_tiny):
    """The steps of parts 1 to 3, the most important first."""
    by_backend = [list(_steps(one, folder, is_tiny)) for one in backends]
    order = ("known_answers", "passes", "montecarlo", "peak_memory")
    order += ("training_step", "masks")
    return [
        step
        for name in order
        for steps in by_backend
        for step in steps
        if step.name == name
    ]


def _steps(backend, folder, is_tiny):
    def module(name, path, seconds, *arguments):
        output = f"--output={folder / f'{name}_{backend}.json'}"
        command = ("-m", f"benchmarks.{path}.{name}", output, *arguments)
        return Step(name, backend, command, seconds, {})

    tiny = ("--tiny",) if is_tiny else ()
    answers = (
        *("-m", "pytest", "--quiet", "-p", "no:cacheprovider"),
        # Warnings of a GPU's drivers are no wrong answers.
        *("-W", "default"),
        f"--junit-xml={folder / f'known_answers_{backend}.xml'}",
        *(("-k", "stored or ClassicDropout") if is_tiny else ()),
        *ANSWERS,
    )
    yield Step("known_answers", backend, answers, 80.0, EXACT)
    # Compiling is no matter of the device, and takes long.
    modes = ("--modes", bars.MODES[backend][0], "--rounds=2") if is_tiny else ()
    yield module("passes", "gpu", 80.0, *tiny, *modes)
    samples = ("--samples=4", "--seconds=0.1") if is_tiny else ("--seconds=5",)
    models = ("--models", "convnext 224", "mlp bfloat16")
    yield module("montecarlo", "speed", 60.0, *tiny, *samples, *models)
    if backend == "torch":
        yield module("peak_memory", "gpu", 30.0, *tiny)
    mode = {"torch": "eager", "jax": "compiled"}[backend]
    quick = ("--quick", "--networks", "MLP") if is_tiny else ("--rounds=5",)
    yield module("training_step", "speed", 60.0, "--modes", mode, *quick)
    if not is_tiny:  # `passes` has run the same functions
        yield module("masks", "speed", 60.0, "--rounds=10")


def paper_step(folder, data, is_tiny):
    """Part 4: trains on, and tests what is trained."""
    name = "srivastava_mnist"
    arguments = (
        *("-m", f"benchmarks.papers.srivastava.{name}", "--compiled-loop"),
        *("--rows", "maxnorm", "gaussian"),
        *("--data", data),
        *("--output", folder / f"{name}_jax.json"),
    )
    if is_tiny:
        arguments += ("--quick", "--checkpoints", folder)
    else:
        arguments += ("--updates", UPDATES, "--checkpoints", CHECKPOINTS)
        arguments += ("--seconds", _TRAINING_SECONDS)
    return Step(name, "jax", tuple(map(str, arguments)), PAPER_SECONDS, {})


def run(step, seconds):
    """Runs a step; returns what became of it, a dict."""
    start = time.monotonic()
    # Of its own session, so that what it starts ends with it.
    process = subprocess.Popen(
        [sys.executable, *step.arguments],
        cwd=ROOT,
        env=environment_of(step),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
        state = "done" if process.returncode == 0 else "failed"
    except subprocess.TimeoutExpired:
        state = f"stopped after {seconds:.0f} s"
        printed = ""
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
    return {
        "step": step.name,
        "backend": step.backend,
        "state": state,
        "exit status": process.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "last lines": printed.strip().splitlines()[-12:],
    }


def environment_of(step):
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **step.environment,
        "PYTHONPATH": os.pathsep.join(paths),
        "KERAS_BACKEND": step.backend,
    }


def gpus(backends):
    """The names of the GPUs that the backends see, by backend."""
    found = {}
    for backend in backends:
        asked = run(Step("ask", backend, ("-c", _ASK), 60.0, {}), 60.0)
        name = (asked["last lines"] or [""])[-1]
        if asked["state"] == "done" and name:
            found[backend] = name
    return found


class Run:
    """A run, and its summary in a file, which is written after each step."""

    def __init__(self, folder, backends, devices, is_tiny):
        self.folder = folder
        self.summary = {
            "date": time.strftime("%Y-%m-%d"),
            "gpus": devices,
            "dry run": is_tiny,
            "steps": [],
        }
        self._backends = backends
        self._large = (64, 64) if is_tiny else bars.LARGE

    def add(self, step, seconds):
        print(f"{step.backend}, {step.name} ...", flush=True)
        if seconds <= 0.0:
            became = {"step": step.name, "backend": step.backend}
            became |= {"state": "no time was left", "seconds": 0.0}
        else:
            became = run(step, seconds)
        print(f"  {became['state']}, {became['seconds']} s", flush=True)
        if became["state"] == "failed":
            print("  " + "\n  ".join(became["last lines"]), flush=True)
        self.summary["steps"].append(became)
        self._write()

    def bars(self):
        for backend in self._backends:
            yield from bars.of_backend(self.folder, backend, self._large)

    def _write(self):
        self.summary["bars"] = [
            {**bar._asdict(), "verdict": bar.verdict} for bar in self.bars()
        ]
        file = self.folder / "summary.json"
        file.write_text(json.dumps(self.summary, indent=1) + "\n")

    def show(self):
        print("\n".join(map(str, self.bars())))
        memory = bars.memory_of(self.folder)
        if memory:
            print(memory)


def measure(options, folder):
    """Runs all steps; returns the run."""
    if options.dry_run:
        backends, devices = options.backends, {}
    else:
        devices = gpus(options.backends)
        backends = [one for one in options.backends if one in devices]
        print(f"GPUs: {devices}")
    if not backends:
        raise SystemExit(
            f"None of {', '.join(options.backends)} sees a GPU in "
            f"{sys.executable}. Pass a Python that has a CUDA build: make gpu "
            "PYTHON=...; for a try of the programs: --dry-run"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # What another run has measured is no result of this one.
    chosen = steps(backends, folder, options.dry_run)
    for step in chosen:
        for file in folder.glob(f"{step.name}_{step.backend}.*"):
            file.unlink()
    begun = time.monotonic()
    made = Run(folder, backends, devices, options.dry_run)
    for step in chosen:
        left = options.seconds - (time.monotonic() - begun)
        limit = PATIENCE if options.dry_run else min(step.seconds, left)
        made.add(step, limit)
    if options.data and "jax" in backends:
        step = paper_step(folder, options.data.resolve(), options.dry_run)
        made.add(step, PATIENCE if options.dry_run else step.seconds)
    made.show()
    return made


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--data", type=pathlib.Path, help="for part 4")
    parser.add_argument(
        "--backends", nargs="+", choices=BACKENDS, default=BACKENDS
    )
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    if not options.dry_run:
        measure(options, options.output.resolve())
        return
    with tempfile.TemporaryDirectory() as folder:
        made = measure(options, pathlib.Path(folder))
    failed = [
        step["step"]
        for step in made.summary["steps"]
        if step["state"] != "done"
    ]
    print("A dry run: the figures mean nothing.")
    if failed:
        raise SystemExit(f"These do not run: {', '.join(failed)}")


if __name__ == "__main__":
    main()
