"""Starts processes together, each of which runs one function."""

import pathlib
import socket
import subprocess
import sys

import numpy as np

from tests.support import forks
from tests.support import ranks

ROOT = pathlib.Path(__file__).parents[2]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def run_module(module, *arguments):
    """Runs a module in a new process and returns its output."""
    result = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def run(name, folder, count=ranks.WORLD):
    """Runs a function of `ranks` in processes that know each other.

    Args:
        name: Its name.
        folder: Path of a folder that they share.
        count: The number of processes.

    Returns:
        A list of the results of each process, dicts of arrays.
    """
    ports = [str(port) for port in free_ports(ranks.WORLD)]
    processes = [
        forks.Program(
            "from tests.support import ranks; ranks.main()",
            [name, str(rank), str(folder), *ports],
        )
        for rank in range(count)
    ]
    for finished in [process.finish(timeout=250) for process in processes]:
        assert finished.returncode == 0, finished.stderr
    found = []
    for rank in range(count):
        with np.load(folder / f"{rank}.npz") as arrays:
            found.append(dict(arrays))
    return found
