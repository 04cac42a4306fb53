"""Records the state that a pass must not change: variables, generators."""

import contextlib
import random
import threading
import zlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from kerasdrop import _backend
from kerasdrop._structure import keras_graph
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor

# Larger values are compared by a checksum, so that they are not copied.
_MOST_COPIED = 2**20


class Snapshot:
    """The state of a model and of all global random generators.

    Args:
        model: A built model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._variables = list(model.variables)
        generator = keras_graph.global_generator()
        self._had_generator = generator is not None
        if self._had_generator:
            self._variables.append(generator.state)
        self._model = model
        self._values = _backend.patient(
            lambda: [_Value(value) for value in self._read()]
        )
        self._global = _generators()
        self._states = {
            name: read() for name, (read, _) in self._global.items()
        }

    def _read(self) -> list[Tensor]:
        """The tensors that are the variables' values now."""
        return _backend.values_of(self._variables, self._model)

    def moved(self) -> Given:
        """The names of what has changed, in the order of the snapshot.

        Other threads share the global generators, so these are left out if
        there are other threads.
        """
        names = [f"variable '{one.path}'" for one, _ in self._others()]
        if threading.active_count() == 1:
            names += self.moved_generators()
        return names

    def moved_generators(self) -> Given:
        """Names of the global generators that this or another thread moved."""
        # Keras seeds its own global generator from Python's, once.
        made = not self._had_generator and keras_graph.global_generator()
        return [
            _named(name)
            for name, (read, _) in self._global.items()
            if not _equal(read(), self._states[name])
            and not (made and name == "random")
        ]

    def _others(self) -> list[Given]:
        """The variables with another value now, each with its `_Value`."""

        def find() -> list[Given]:
            triples = zip(self._variables, self._values, self._read())
            return [
                (variable, value)
                for variable, value, now in triples
                if not value.is_still(now)
            ]

        # A value may be freed while it is read.
        return _backend.patient(find)

    def restore(self, but: Given = ()) -> None:
        """Restores all state but large variables and the generators `but`."""
        for variable, value in self._others():
            if value.copy is not None:
                variable.assign(value.copy)
        _set_back(
            {
                name: functions
                for name, functions in self._global.items()
                if _named(name) not in but
            },
            self._states,
        )


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Restores all global random generators after the block."""
    found = _generators()
    states = {name: read() for name, (read, _) in found.items()}
    try:
        with keras_graph.no_global_generator_made():
            yield
    finally:
        _set_back(found, states)


class _Value:
    """The value that a variable had at some time.

    Attributes:
        copy: A tensor or an array; None if the value is large and mutable.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._checksum = None
        if _backend.VALUES_ARE_FINAL:
            self.copy = tensor
            return
        array = ops.convert_to_numpy(tensor)
        if array.nbytes <= _MOST_COPIED:
            self.copy = np.array(array)
        else:
            self.copy, self._checksum = None, _checksum(array)

    def is_still(self, tensor: Tensor) -> bool:
        if tensor is self.copy:
            return True
        if _backend.VALUES_ARE_FINAL:
            return self._is_copied(tensor)
        array = ops.convert_to_numpy(tensor)
        if self.copy is None:
            return self._checksum == _checksum(array)
        return self.copy.tobytes() == array.tobytes()

    def _is_copied(self, tensor: Tensor) -> Given:
        # NumPy would read memory that Keras may donate in another thread. The
        # backend keeps the memory until its copy is done.
        try:
            before, now = ops.copy(self.copy), ops.copy(tensor)
        except RuntimeError:  # donated: that thread owns them
            return True
        before, now = map(ops.convert_to_numpy, (before, now))
        return before.tobytes() == now.tobytes()


def _named(name: str) -> str:
    return f"the global generator `{name}`"


def _checksum(array: Array) -> Given:
    return zlib.crc32(np.ascontiguousarray(array).view("uint8"))


def _generators() -> dict[str, tuple[Function, Function]]:
    return {
        "random": (random.getstate, random.setstate),
        "numpy.random": (np.random.get_state, np.random.set_state),
        **_backend.generators(),
    }


def _set_back(
    found: dict[str, tuple[Function, Function]], states: Config
) -> None:
    for name, (read, write) in found.items():
        state = states[name]
        if state is not None and not _equal(read(), state):
            write(state)


def _equal(state: Given, other: Given) -> bool:
    if isinstance(state, tuple) and isinstance(other, tuple):
        return all(map(_equal, state, other))
    return np.array_equal(state, other)
