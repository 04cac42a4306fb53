"""Finds the benchmarks and runs one in a test."""

import importlib
import pathlib

from tests.support import forks

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
    """Runs a benchmark in a new process and returns its output."""
    result = forks.run(
        f"""
import os, runpy
os.chdir({str(ROOT)!r})
runpy.run_module({dotted(script)!r}, run_name="__main__", alter_sys=True)
""",
        [*map(str, arguments)],
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
