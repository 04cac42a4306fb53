"""Programs that start where Keras has been imported already.

Its import takes several seconds, and the rest of most test programs takes less
than one. One process imports it and does nothing else, and each program is a
fork of it. As in a new process, the backend has not started there. A fork ends
without what a module has left for the end of its process (`atexit`), so a
program that needs that does it itself.
"""

import multiprocessing
import os
import pathlib
import sys
import tempfile
from typing import NamedTuple

# Elsewhere, libraries of a backend may not survive a fork, so each program is a
# new process with its own imports.
_CONTEXT = multiprocessing.get_context(
    "forkserver" if sys.platform == "linux" else "spawn"
)
_CONTEXT.set_forkserver_preload(["keras"])


class Finished(NamedTuple):
    """The outcome of a program."""

    returncode: int
    stdout: str
    stderr: str


class Program:
    """Starts a program in a fork.

    Args:
        code: Python source.
        arguments: Strings, in its `sys.argv`.
        environment: Dict of variables, besides those of this process.
    """

    def __init__(self, code, arguments=(), environment=None):
        self._folder = tempfile.TemporaryDirectory()
        self._paths = [
            os.path.join(self._folder.name, name) for name in ("out", "err")
        ]
        place = os.getcwd(), {**os.environ, **(environment or {})}
        self._process = _CONTEXT.Process(
            target=_main, args=(code, arguments, self._paths, *place)
        )
        self._process.start()

    def finish(self, timeout=None):
        """Waits for the program's end; kills it after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        texts = [pathlib.Path(path).read_text() for path in self._paths]
        finished = Finished(self._process.exitcode, *texts)
        self._process.close()
        self._folder.cleanup()
        return finished


def run(code, arguments=(), environment=None):
    """Runs a program and returns its outcome, a `Finished`."""
    return Program(code, arguments, environment).finish()


def _main(code, arguments, paths, folder, variables):
    for number, path in enumerate(paths, 1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["-c", *arguments]
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    exec(compile(code, "<program>", "exec"), vars(module))
