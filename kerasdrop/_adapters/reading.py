"""Finds users' code that reads rates in Python and misses given rates."""

import dis
import functools
import inspect
from collections.abc import Iterable
from collections.abc import Iterator

import keras

from kerasdrop._adapters import registry
from kerasdrop._adapters.adapters import is_foreign
from kerasdrop._adapters.adapters import is_foreign_class
from kerasdrop._structure import keras_graph
from kerasdrop._types import Given
from kerasdrop.layers.base import StochasticLayer

_NOT_IN_A_PASS = ("__init__", "build", "get_config", "from_config", "__repr__")


def written_by_users(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers, the model included, whose `call` a user wrote.

    Registered layers are left out, since another function draws for them.
    """
    return [
        layer
        for layer in keras_graph.all_layers(model)
        if is_foreign(layer) and not registry.is_registered(type(layer))
    ]


def reader_of_rate(
    owners: Iterable[keras.layers.Layer],
    layer: keras.layers.Layer,
    part: str | None,
) -> keras.layers.Layer | None:
    """Returns a layer whose class computes with the rate of `layer`, or None.

    Code may ask whether the rate is above 0, because the pass notices a layer
    at rate 0 that is not called. The search finds reads in methods of the class
    of the form `self.rate` or `self.dropout_layer.rate`, and no others.

    Args:
        owners: What `written_by_users` returns.
        layer: A layer that draws.
        part: The name of the rate, if the layer has several; or None.
    """
    name = part or _name_of_rate(layer)
    for owner in owners:
        cls: Given = type(owner)
        for said in _reads(cls, name):
            read = owner if said is None else getattr(owner, said, None)
            if read is layer:
                return owner
    return None


def _name_of_rate(layer: keras.layers.Layer) -> str:
    if isinstance(layer, keras.layers.GaussianNoise):
        return "stddev"
    has_rate = isinstance(layer, StochasticLayer) or hasattr(layer, "rate")
    return "rate" if has_rate else "dropout"


@functools.lru_cache(maxsize=1024)
def _reads(cls: type, name: str) -> tuple[str | None, ...]:
    """The owners whose `name` methods read: None for `self`, or attributes."""
    found: list[str | None] = []
    done = set(_NOT_IN_A_PASS)
    for one in cls.__mro__:
        if not is_foreign_class(one):
            break
        methods = {
            key: inspect.unwrap(value)
            for key, value in vars(one).items()
            if key not in done and inspect.isfunction(inspect.unwrap(value))
        }
        for key, method in methods.items():
            found.extend(_reads_in(method, name))
            if key not in method.__code__.co_names:
                done.add(key)  # a parent's method is not reached
    return tuple(found)


def _reads_in(call: Given, name: str) -> Iterator[str | None]:
    steps = [
        (step.opname, step.argval)
        for step in dis.get_instructions(call)
        if step.opname not in ("EXTENDED_ARG", "NOP", "CACHE")
    ]
    for at, (what, argument) in enumerate(steps):
        is_read = what == "LOAD_ATTR" and argument == name
        if is_read and not _is_only_asked(steps[at + 1 : at + 3]):
            before, of = steps[at - 1]
            yield of if before == "LOAD_ATTR" else None


def _is_only_asked(following: list[tuple[str, Given]]) -> bool:
    """Whether a value only enters a condition: `if rate`, `if rate > 0`."""
    names = [name for name, _ in following]
    if names[0] == "TO_BOOL" or names[0].startswith("POP_JUMP"):
        return True
    is_zero = names[0].startswith("LOAD_") and following[0][1] == 0
    return is_zero and names[1] == "COMPARE_OP"
