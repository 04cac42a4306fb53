"""Finds users' code that calls functions of random numbers.

A layer whose `call` uses `keras.random.dropout` under `if training:` draws
nothing in a prediction, and has nothing else that would show that it draws in
training. So the search reads the code, and does not run it.
"""

import contextlib
import dis
import functools
import inspect
import types
from collections.abc import Iterator

import keras

from kerasdrop._adapters.adapters import is_foreign
from kerasdrop._types import Function
from kerasdrop._types import Given

_LIBRARIES = ("keras", "kerasdrop", "tensorflow", "jax", "torch", "numpy")
_NAMES = {
    *("bernoulli", "multinomial", "normal", "poisson"),
    *("rand", "randn", "randint", "randperm"),
    *("rand_like", "randn_like", "randint_like"),
}


def called_by(layer: keras.layers.Layer) -> str | None:
    """The name of a random function that a call of `layer` may use, or None.

    Only code of users is read: the method `call` and the methods and functions
    that it names, and the function of a `Lambda`.
    """
    if isinstance(layer, keras.layers.Lambda):
        return _first(layer.function)
    cls: Given = type(layer)
    return _of_class(cls) if is_foreign(layer) else None


@functools.lru_cache(maxsize=1024)
def _of_class(cls: type) -> str | None:
    return next(_in_methods(cls, "call", set()), None)


def _first(function: Given) -> str | None:
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        return None
    return next(_in_function(function, None, set()), None)


def _in_methods(cls: type, name: str, seen: set[Given]) -> Iterator[str]:
    """Yields the random functions that the methods of this name call."""
    for one in cls.__mro__:
        method: Given = vars(one).get(name)
        method = inspect.unwrap(method)
        if inspect.isfunction(method) and not _is_of_library(method):
            yield from _in_function(method, cls, seen)


def _in_function(
    function: Function, cls: type | None, seen: set[Given]
) -> Iterator[str]:
    """Yields the random functions that `function` calls.

    Args:
        function: A function of a user.
        cls: The class of which it is a method, or None.
        seen: The functions that were read.
    """
    if function in seen:
        return
    seen.add(function)
    variables = {**function.__globals__, **_closure(function)}
    for code in _codes(function.__code__):
        for path in _paths(code):
            found = _found(path, variables)
            if found is not None:
                if _is_random(found, path[-1]):
                    yield ".".join(path)
                elif inspect.isfunction(found) and not _is_of_library(found):
                    yield from _in_function(found, None, seen)
            elif cls is not None and len(path) > 1:
                # A method of the class, after whatever the class is called.
                yield from _in_methods(cls, path[1], seen)


def _closure(function: Function) -> dict[str, Given]:
    """The variables around a function, by name."""
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    found = {}
    for name, cell in zip(names, cells):
        with contextlib.suppress(ValueError):  # it has no value yet
            found[name] = cell.cell_contents
    return found


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yields a code and the codes of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _paths(code: types.CodeType) -> Iterator[list[str]]:
    """Yields the dotted names in a code, as lists."""
    path: list[str] = []
    for step in dis.get_instructions(code):
        if step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER")):
            path = [*(path or [""]), step.argval]
            continue
        if path:
            yield path
        is_name = step.opname.startswith(
            ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST")
        )
        path = [step.argval] if is_name and isinstance(step.argval, str) else []
    if path:
        yield path


def _found(path: list[str], variables: dict[str, Given]) -> Given:
    """What a dotted name of modules stands for; None for anything else."""
    found = variables.get(path[0])
    for name in path[1:]:
        if not inspect.ismodule(found):
            return None
        found = getattr(found, name, None)
    return found


def _is_random(found: Given, name: str) -> bool:
    """Whether this is a function of a library that returns random numbers."""
    if not callable(found) or isinstance(found, type):
        return False
    module = getattr(found, "__module__", None) or ""
    if any(found is one for one in vars(keras.random).values()):
        return True
    is_known = module.partition(".")[0] in _LIBRARIES or not module
    return is_known and (
        "random" in module.split(".")
        or name in _NAMES
        or "dropout" in name.lower()
    )


def _is_of_library(function: Function) -> bool:
    return (function.__module__ or "").partition(".")[0] in _LIBRARIES
