"""What code makes when it makes a layer: another layer, inside a block.

A block or a model that is built anew by the code of its class makes its
dropout layers by `keras.layers.Dropout(...)`. Inside `made_otherwise` this
makes what we say, wherever the name of the class was imported, in the code of
Keras too: the class itself is asked, by its `__new__`. Only the thread of the
block is concerned, and behind it no class has anything of it.
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
def made_otherwise(
    makers: Mapping[type, Function],
    arguments: dict[type, Config] | None = None,
) -> Iterator[None]:
    """Inside the block, in this thread, calls of classes make other objects.

    Blocks inside blocks: the innermost counts alone.

    Args:
        makers: Dict from a class, its subclasses not meant, to a function of
            (the object whose method makes it or None, args, kwargs) that
            returns what is made instead, or None for what the class makes. A
            finished object must be no instance of the class: Python
            initializes those, with the same arguments. Inside the function
            all classes make what they always do.
        arguments: Dict from a class, its subclasses included, to a dict from
            the names of arguments of its `__init__` to what they are, if they
            are given.
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
def made_as_ever() -> Iterator[None]:
    """Inside the block, in this thread, all classes make their own objects."""
    outer = getattr(_here, "block", None)
    _here.block = None
    try:
        yield
    finally:
        _here.block = outer


def _new(target: type) -> Given:
    # Held here: another thread may be in the function when the block ends.
    own = vars(target).get("__new__")

    def __new__(cls: Given, *args: Given, **kwargs: Given) -> Given:
        block = getattr(_here, "block", None)
        maker = block and cls is target and block[0].get(cls)
        if maker:
            # The code that wrote `Dropout(...)`: there is no Python in between.
            owner = sys._getframe(1).f_locals.get("self")
            with made_as_ever():
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

    # Keras reads the names of the arguments off it.
    wrapper: Given = __init__
    wrapper.__signature__ = signature
    return wrapper
