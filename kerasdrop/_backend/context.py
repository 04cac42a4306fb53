"""The context of a call: the backend, the caller, and the export target."""

import contextlib
import os
import sys
import threading
import types
from collections.abc import Iterator

import keras

BACKEND = keras.backend.backend()

# For what threads do one after the other. It is reentrant, since a signal may
# interrupt a thread and make it do the same.
TURN = threading.RLock()


class _Export(threading.local):
    """Whether this thread traces for an export, and how it must divide."""

    is_on = False
    divides = False


_export = _Export()


@contextlib.contextmanager
def exporting(divides: bool = False) -> Iterator[None]:
    """Marks that code traced in this thread, in the block, is exported.

    Args:
        divides: Whether the target needs integer shifts to be divisions.
    """
    before = _export.is_on, _export.divides
    _export.is_on, _export.divides = True, divides
    try:
        yield
    finally:
        _export.is_on, _export.divides = before


def is_exporting() -> bool:
    """Whether this thread traces code for an export."""
    return _export.is_on


def divides() -> bool:
    """Whether integer shifts must be divisions: see `masks.int32`."""
    return _export.divides


class ValuesAway(RuntimeError):
    """On JAX, a model's variables have no values while Keras runs an epoch."""


TRAINER = os.path.join("keras", "src", "backend", BACKEND, "trainer.py")


def is_in_trainer() -> bool:
    """Whether `fit`, `evaluate` or a similar method of a model calls this."""
    # Pinned by tests/contracts/test_trainers.py.
    return is_called_from(TRAINER)


def is_called_from(file: str, name: str = "") -> bool:
    """Whether a function of this file, with `name` in its name, calls this."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.endswith(file) and name in code.co_qualname:
            return True
        frame = frame.f_back
    return False


def is_in_stateless_scope() -> bool:
    """Whether this code runs inside a `keras.StatelessScope`."""
    # Pinned by tests/contracts/test_stateless_scope.py.
    scope = keras.StatelessScope(initialize_variables=False)
    with scope:
        return scope.original_scope is not None
