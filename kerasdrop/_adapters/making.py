"""Makes code create other layers than it asks for, inside a block.

A block or model that is rebuilt by the code of its class creates its dropout
layers by `keras.layers.Dropout(...)`. Inside `replacing_constructors` this call
creates other objects, wherever the name of the class was imported, also in the
code of Keras, because the `__new__` of the class itself is replaced. Only the
thread of the block is affected, and after the block no class is changed.
`tests/contracts/test_making.py` pins what this needs of Keras and of Python.
"""

import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import Iterator
from collections.abc import Mapping

from kerasdrop._adapters import in_place
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given

_here = threading.local()


@contextlib.contextmanager
def replacing_constructors(
    makers: Mapping[type, Function],
    arguments: dict[type, Config] | None = None,
) -> Iterator[None]:
    """Makes calls of classes create other objects, in this block and thread.

    Of nested blocks only the innermost counts.

    Args:
        makers: Dict from a class, without its subclasses, to a function of (the
            object whose method makes it or None, args, kwargs). It returns the
            object to create instead, or None for the usual one. A finished
            object must not be an instance of the class, because Python would
            initialize it with the same arguments. Inside the function all
            classes work as usual.
        arguments: Dict from a class, with its subclasses, to a dict from the
            names of arguments of its `__init__` to the values that replace them
            if they are given.
    """
    arguments = arguments or {}
    outer = getattr(_here, "block", None)

    def replacements() -> list[Given]:
        return [
            *((cls, {"__new__": _new(cls)}) for cls in makers),
            *((cls, {"__init__": _init(cls)}) for cls in arguments),
        ]

    with in_place.methods(replacements):
        _here.block = (makers, arguments)
        try:
            yield
        finally:
            _here.block = outer


@contextlib.contextmanager
def usual_constructors() -> Iterator[None]:
    """Makes all classes create their own objects, in this block and thread."""
    outer = getattr(_here, "block", None)
    _here.block = None
    try:
        yield
    finally:
        _here.block = outer


def _new(target: type) -> Given:
    # It is stored here since another thread may be in the function when the
    # block ends.
    own = vars(target).get("__new__")

    def __new__(cls: Given, *args: Given, **kwargs: Given) -> Given:
        block = getattr(_here, "block", None)
        maker = block and cls is target and block[0].get(cls)
        if maker:
            # The frame with `Dropout(...)`, since no Python code is in between.
            owner = sys._getframe(1).f_locals.get("self")
            with usual_constructors():
                made = maker(owner, args, kwargs)
            if made is not None:
                return made
        plain = own or super(target, cls).__new__  # type: ignore[arg-type]
        return plain(cls, *args, **kwargs)

    return staticmethod(__new__)


def _init(target: type) -> Function:
    plain: Given = vars(target)["__init__"]
    signature = inspect.signature(plain)

    @functools.wraps(plain)
    def __init__(self: Given, *args: Given, **kwargs: Given) -> None:
        block = getattr(_here, "block", None)
        given = block[1].get(target) if block else None
        if given:
            bound = signature.bind(self, *args, **kwargs)
            for name, value in given.items():
                if name in bound.arguments:
                    bound.arguments[name] = value
            args, kwargs = bound.args[1:], bound.kwargs
        plain(self, *args, **kwargs)

    # Keras reads the names of the arguments from it.
    wrapper: Given = __init__
    wrapper.__signature__ = signature
    return wrapper
