"""Methods of objects and classes, replaced for as long as a block runs."""

import collections
import contextlib
import threading

_lock = threading.RLock()
# How many passes use a method put in place, by the object's id and its name.
_users = collections.Counter()
# What a class has itself, by the class and the name, while a pass replaces it.
_of_classes = {}


@contextlib.contextmanager
def methods(replacements):
    """Puts methods in place for the block.

    Args:
        replacements: Function that returns pairs of an object, or a class,
            and its methods by name.
    """
    used = []
    try:
        with _lock:
            for owner, methods in list(replacements()):
                for name, method in methods.items():
                    used.append((owner, name))
                    _users[id(owner), name] += 1
                    if _users[id(owner), name] == 1:
                        _put(owner, name, method)
        yield
    finally:
        with _lock:
            for owner, name in used:
                _users[id(owner), name] -= 1
                if _users[id(owner), name] == 0:
                    del _users[id(owner), name]
                    _take_away(owner, name)


def of_class(cls, name):
    """The method that a class has itself while another is in its place."""
    return _of_classes[cls, name]


def _put(owner, name, method):
    if isinstance(owner, type):
        _of_classes[owner, name] = vars(owner)[name]
        setattr(owner, name, method)
    else:
        # Past Keras' tracker: this is no part of the model.
        object.__setattr__(owner, name, method)


def _take_away(owner, name):
    if not isinstance(owner, type):
        vars(owner).pop(name, None)
    elif (owner, name) in _of_classes:
        setattr(owner, name, _of_classes.pop((owner, name)))


@contextlib.contextmanager
def replaced(methods):
    """Puts methods in place, over those of a pass if there is one.

    Meanwhile no other thread can begin or end a pass.

    Args:
        methods: List of (object, name, method).
    """
    before = []
    with _lock:
        try:
            for owner, name, method in methods:
                before.append((owner, name, vars(owner).get(name)))
                object.__setattr__(owner, name, method)
            yield
        finally:
            for owner, name, method in reversed(before):
                if method is None:
                    vars(owner).pop(name, None)
                else:
                    object.__setattr__(owner, name, method)
