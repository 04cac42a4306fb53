"""Replaces methods of objects and classes for the duration of a block."""

import collections
import contextlib
import threading
from collections.abc import Iterator

import keras

from kerasdrop._types import Function
from kerasdrop._types import Given

_lock = threading.RLock()
# How many passes use a replacement, by the id of the object and the name.
_users: collections.Counter[Given] = collections.Counter()
# The original methods of classes, by class and name, during a pass.
_of_classes: dict[Given, Given] = {}
_INHERITED = object()


@contextlib.contextmanager
def methods(replacements: Function) -> Iterator[None]:
    """Replaces methods for the block.

    Args:
        replacements: Function that returns pairs of an object, or a class, and
            the new methods by name.
    """
    used = []
    try:
        with _lock:
            for target, methods in list(replacements()):
                for name, method in methods.items():
                    used.append((target, name))
                    _users[id(target), name] += 1
                    if _users[id(target), name] == 1:
                        _put(target, name, method)
        yield
    finally:
        with _lock:
            for target, name in used:
                _users[id(target), name] -= 1
                if _users[id(target), name] == 0:
                    del _users[id(target), name]
                    _take_away(target, name)


def of_class(cls: type, name: str) -> Given:
    """The original method of a class, also while it is replaced."""
    return _of_classes[cls, name]


def _put(target: Given, name: str, method: Function) -> None:
    if isinstance(target, type):
        _of_classes[target, name] = vars(target).get(name, _INHERITED)
        setattr(target, name, method)
    else:
        # Bypasses Keras' tracker, since this is not a part of the model.
        object.__setattr__(target, name, method)


def _take_away(target: Given, name: str) -> None:
    if not isinstance(target, type):
        target.__dict__.pop(name, None)
    elif (target, name) in _of_classes:
        own = _of_classes.pop((target, name))
        if own is _INHERITED:
            delattr(target, name)
        else:
            setattr(target, name, own)


@contextlib.contextmanager
def replaced(
    methods: list[tuple[keras.layers.Layer, str, Function]],
) -> Iterator[None]:
    """Replaces methods, also those of a pass that is running.

    No other thread can begin or end a pass meanwhile.

    Args:
        methods: List of (object, name, method).
    """
    before = []
    with _lock:
        try:
            for target, name, method in methods:
                before.append((target, name, vars(target).get(name)))
                object.__setattr__(target, name, method)
            yield
        finally:
            for target, name, method in reversed(before):
                if method is None:
                    vars(target).pop(name, None)
                else:
                    object.__setattr__(target, name, method)
