"""What code of Python reads off a layer when it is traced, and may change."""

import collections
import functools
import sys
import types
from collections.abc import Hashable
from collections.abc import Iterable

import keras
import numpy as np

from kerasdrop._backend import peaks
from kerasdrop._types import Given
from kerasdrop.layers.base import StochasticLayer

_PLAIN = (bool, int, float, complex, str, bytes)
_PLAIN_CLASSES = frozenset(_PLAIN)
# What `fit`, `predict` and `compile` leave on a model.
_OF_TRAINER = {
    "_compile_config",
    "_compiled_trainable_state",
    "_eval_epoch_iterator",
    "_jax_state",
    "history",
    "optimizer",
    "output_names",
    "stop_evaluating",
    "stop_predicting",
    "stop_training",
}
# What a graph has in `_operations` as well, in another order.
_OF_GRAPH = {"_nodes", "_nodes_by_depth", "_operations_by_depth"}
# Larger arrays are told apart as objects.
_MOST_BYTES = 2**20
_DEEPEST = 8
_CONTAINERS = (tuple, list, dict, set, frozenset, collections.deque)
# What has a value that may change with no one of its attributes.
_WRITTEN = (slice, bytearray)
_OF_KERAS = ("keras", "kerasdrop")
_OF_BACKENDS = ("tensorflow", "jax", "jaxlib", "torch", "numpy")


class _Same:
    """Equal to itself alone, and held: its `id` is not given to another."""

    __slots__ = ("value",)

    def __init__(self, value: Given) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]


@functools.cache
def _bookkeeping(is_model: bool, is_graph: bool) -> set[str]:
    """Names of what Keras itself keeps on any layer, model or graph."""
    names = set(vars(keras.layers.Layer(name="bare")))
    if is_model:
        names |= _OF_TRAINER | set(vars(keras.Model(name="bare_model")))
    if is_graph:
        names |= _OF_GRAPH
    return names


def of_layer(layer: keras.layers.Layer) -> list[tuple[Given, ...]]:
    """The plain attributes of a layer: to be compared, not looked at.

    Numbers, strings, functions, arrays, tensors, containers of these, and
    objects with such attributes; not variables, which a compiled function gets,
    nor other layers.
    """
    visited: set[int] = set()
    is_own = isinstance(layer, StochasticLayer)
    is_model = isinstance(layer, keras.Model)
    is_graph = is_model and _OF_GRAPH <= vars(layer).keys()
    skipped = _bookkeeping(is_model, is_graph)
    found: list[tuple[Given, ...]] = []
    # All layers of a model are read in each prediction: what most names are
    # is asked first.
    for name, value in vars(layer).items():
        if name in skipped or value is None:
            continue
        # TensorFlow keeps lists of what is tracked under such names, and we
        # what earlier predictions made.
        if name.startswith(("_self_", "__kerasdrop_")):
            continue
        # The rate of a layer of ours is read when the function runs.
        if is_own and name.startswith("_") and name not in _OF_OURS:
            continue
        cls = type(value)
        if cls in _PLAIN_CLASSES:
            found.append((name, cls, value))
        else:
            value = _plain(value, visited)
            if value is not None:
                found.append((name, value))
    return found


_OF_OURS = ("_stochastic_inference", "_schedule")


def of_class(cls: type) -> list[tuple[Given, ...]]:
    """What a class of a user has for its layers: methods and attributes.

    `IPython` writes edited methods into the classes that are there.
    """
    visited: set[int] = set()
    found: list[tuple[Given, ...]] = []
    for one in cls.__mro__:
        if _root(one) in (*_OF_KERAS, *_OF_BACKENDS, "builtins"):
            continue
        for name, value in vars(one).items():
            if type(value) is types.FunctionType:
                found.append((name, value))
            elif not name.startswith(("__", "_self_")):
                found.append((name, _plain(value, visited)))
    return found


def _root(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _plain(value: Given, visited: set[int], depth: int = _DEEPEST) -> Given:
    """What is equal as long as a value is the same, and what it contains."""
    if isinstance(value, _PLAIN):
        return type(value), value
    if value is None or isinstance(
        value, (keras.layers.Layer, keras.Variable, keras.KerasTensor)
    ):
        return None
    if isinstance(value, _CONTAINERS):
        parts: Given = value
        if isinstance(value, dict):
            parts = [part for item in value.items() for part in item]
        return _of_parts(value, parts, visited, depth)
    if isinstance(value, keras.DTypePolicy):
        return type(value), value.name
    root = _root(type(value))
    if root in _OF_KERAS:
        return _Same(value) if callable(value) else None
    if isinstance(value, np.generic):
        return type(value), value.tobytes()
    if isinstance(value, np.ndarray):
        if value.nbytes > _MOST_BYTES or value.dtype.hasobject:
            return _Same(value)
        return value.shape, value.dtype.str, value.tobytes()
    if keras.ops.is_tensor(value):
        # A traced one cannot be read by another function.
        return _Same(value) if peaks.is_concrete(value) else None
    if isinstance(value, _WRITTEN):
        return type(value), repr(value)
    is_of_library = root in sys.stdlib_module_names or root in _OF_BACKENDS
    if is_of_library and not isinstance(value, types.SimpleNamespace):
        # Ranges, fractions and paths are equal by what they are.
        is_a_value = isinstance(value, Hashable) and not callable(value)
        return (type(value), value) if is_a_value else _Same(value)
    own = _attributes(value)
    return _of_parts(value, own, visited, depth) if own else _Same(value)


def _of_parts(
    value: Given, parts: Iterable[Given], visited: set[int], depth: int
) -> Given:
    """A container or an object, by its type and what it contains."""
    parts = tuple(parts)
    classes = tuple(map(type, parts))
    if _PLAIN_CLASSES.issuperset(classes):
        return type(value), classes, parts
    if id(value) in visited:
        return type(value)
    if not depth:
        return _Same(value)
    visited.add(id(value))
    return type(value), [_plain(one, visited, depth - 1) for one in parts]


def _attributes(value: Given) -> list[Given]:
    """The names and values of an object's own attributes."""
    found = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name != "__dict__" and hasattr(value, name):
                found[name] = getattr(value, name)
    return [part for item in found.items() for part in item]
