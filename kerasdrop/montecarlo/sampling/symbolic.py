"""Runs a function on symbolic tensors, which computes and changes nothing."""

import contextlib
import threading
from collections.abc import Iterator

import keras
from keras import tree

from kerasdrop._types import Given
from kerasdrop._types import Structure


class _Function(keras.layers.Layer):
    """A layer around a function: Keras runs layers on symbolic inputs."""

    def __init__(self, function: Given) -> None:
        super().__init__(autocast=False, name="symbolic")
        self._function = function
        self.built = True

    def call(self, inputs: Structure) -> Given:
        return self._function(inputs)


_current = threading.local()


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Marks that the tensors made in this thread have no values."""
    outer = is_running()
    _current.is_running = True
    try:
        yield
    finally:
        _current.is_running = outer


def is_running() -> bool:
    """Whether `run` is running a function in this thread."""
    return getattr(_current, "is_running", False)


def run(function: Given, inputs: Structure) -> None:
    """Calls `function` on symbolic tensors, perhaps more than once.

    Args:
        function: Function of a structure of tensors that returns tensors.
        inputs: Such a structure, of tensors or of anything with a `shape` and
            a `dtype`.
    """
    with running():
        _run(function, inputs)


def _run(function: Given, inputs: Structure) -> None:
    _Function(function)(
        tree.map_structure(
            lambda tensor: keras.KerasTensor(
                tuple(tensor.shape),
                keras.backend.standardize_dtype(tensor.dtype),
            ),
            inputs,
        )
    )
