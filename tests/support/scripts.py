"""Where the benchmarks are, and how a test runs one."""

import importlib
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def file_of(name):
    """The file of a module of the benchmarks, from the root of the tree."""
    (path,) = BENCHMARKS.rglob(f"{name}.py")
    return path.relative_to(ROOT)


def dotted(name):
    """The name by which Python imports it."""
    return ".".join(file_of(name).with_suffix("").parts)


def module_of(name):
    """A module of the benchmarks."""
    return importlib.import_module(dotted(name))


def run(script, *arguments):
    """Runs a benchmark in a process of its own; returns what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", dotted(script), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
