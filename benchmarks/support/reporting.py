"""The machine and versions of a benchmark's results, and their file."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform

import keras

import kerasdrop

BACKEND = keras.backend.backend()

_RESULTS = pathlib.Path(__file__).parents[1] / "results"


def taken(*packages):
    """When, with what and on what figures are taken: a dict.

    Args:
        packages: Names of further packages whose versions matter.
    """
    names = ("keras", "numpy", *packages)
    return {
        "date": datetime.date.today().isoformat(),
        "backend": BACKEND,
        "versions": {
            "python": platform.python_version(),
            # Of the sources that run, which need not be installed.
            "kerasdrop": kerasdrop.__version__,
            **{name: importlib.metadata.version(name) for name in names},
            BACKEND: __import__(BACKEND).__version__,
        },
        "machine": _machine(),
    }


def _machine():
    name = platform.machine()
    cpu_info = pathlib.Path("/proc/cpuinfo")
    if cpu_info.exists():
        lines = cpu_info.read_text().splitlines()
        models = [line for line in lines if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "device": str(keras.distribution.list_devices()[0])
        if BACKEND != "torch"
        else str(keras.ops.zeros(()).device),
        **({"gpu": gpu_name()} if gpu_name() else {}),
    }


def gpu_name():
    """What the GPU that PyTorch or JAX runs on calls itself; None without."""
    if BACKEND == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    if BACKEND == "jax":
        import jax

        device = jax.devices()[0]
        return device.device_kind if device.platform == "gpu" else None
    return None


def show_bars(bars):
    """Prints which bars hold."""
    for bar in bars:
        verdict = "holds" if bar["holds"] else "FAILS"
        print(f"{verdict}: {bar['bar']} (is {bar['value']})")


def path(name):
    """The file that keeps the figures of `name` on this backend."""
    return _RESULTS / f"{name}_{BACKEND}.json"


def kept(file):
    """The report in a file, to be shown.

    Raises:
        SystemExit: If it is not there.
    """
    if not file.exists():
        raise SystemExit(
            f"There is no {file}: nothing to show. Run the script without "
            "--show first, or set KERAS_BACKEND to a backend that has results."
        )
    return json.loads(file.read_text())


def of_all_backends(name):
    """The reports of `name` that there are, by the names of the backends."""
    paths = sorted(_RESULTS.glob(f"{name}_*.json"))
    return [json.loads(path.read_text()) for path in paths]


def keep(name, report, output=None):
    """Writes a report to `output`, else `results/<name>_<backend>.json`."""
    output = output or path(name)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"Written: {output}")
