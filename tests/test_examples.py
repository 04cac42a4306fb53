"""The examples run, and the same seed gives the same numbers."""

import os
import pathlib
import subprocess
import sys

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[1]


def run_example(name, *arguments):
    """Runs an example in a process of its own; returns what it printed."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        env={
            **os.environ,
            "KERAS_BACKEND": keras.backend.backend(),
            "MPLBACKEND": "agg",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def table_of(output):
    """The numbers of the quickstart, without its progress bars."""
    return output[output.index("Test accuracy") : output.index("Figure")]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    arguments = ("--quick", "--seed=3", f"--output={folder}")
    return folder, run_example("quickstart.py", *arguments)


def test_the_quickstart_draws_its_figure(quickstart):
    folder, _ = quickstart
    start = (folder / "quickstart.png").read_bytes()[:8]
    assert start == b"\x89PNG\r\n\x1a\n"


def test_the_quickstart_repeats_its_numbers(quickstart):
    folder, output = quickstart
    again = run_example(
        "quickstart.py", "--quick", "--seed=3", f"--output={folder}"
    )
    assert table_of(again) == table_of(output)


@pytest.mark.slow
def test_another_seed_gives_the_quickstart_other_numbers(quickstart):
    folder, output = quickstart
    other = run_example(
        "quickstart.py", "--quick", "--seed=4", f"--output={folder}"
    )
    assert table_of(other) != table_of(output)
