"""What code of Python reads off a layer when it is traced, and may change."""

import collections
import functools
import itertools
import operator
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
# What may be another value later, though it is the same object.
_CHANGING = (
    *_CONTAINERS,
    *_WRITTEN,
    keras.DTypePolicy,
    np.generic,
    np.ndarray,
    types.SimpleNamespace,
)
# A compiled function gets the values of variables, and layers are read by
# themselves.
_NOT_READ = (keras.layers.Layer, keras.Variable, keras.KerasTensor)
_OF_KERAS = ("keras", "kerasdrop")
_OF_PYTHON = sys.stdlib_module_names
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


class OfLayer:
    """The plain attributes of a layer, as they were when they were read.

    Two records are equal if what they contain is.
    """

    __slots__ = ("_all_names", "_cls", "_names", "_parts", "_plain", "_values")

    def __init__(self, layer: keras.layers.Layer) -> None:
        chosen = _chosen(layer)
        self._cls = type(layer)
        self._all_names = tuple(vars(layer))
        self._names = tuple(chosen)
        self._values = tuple(chosen.values())
        # Containers with what was in them; None if a value that stays the same
        # object may change in another way.
        self._parts: Given = []
        for value in self._values:
            if _is_settled(value):
                continue
            parts = _parts_of(value)
            if parts is None or not all(map(_is_settled, parts)):
                self._parts = None
                break
            self._parts.append((value, parts))
        visited: set[int] = set()
        plain = ((name, _plain(chosen[name], visited)) for name in chosen)
        self._plain = [pair for pair in plain if pair[1] is not None]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OfLayer) and self._plain == other._plain

    __hash__ = None  # type: ignore[assignment]

    def is_up_to_date(self, layer: keras.layers.Layer) -> bool:
        """Whether the layer has the same objects, which have not changed.

        All layers of a model are asked in each prediction: loops of C answer.
        """
        now = vars(layer)
        return (
            self._parts is not None
            and type(layer) is self._cls
            and tuple(now) == self._all_names
            and _are_same(map(now.__getitem__, self._names), self._values)
            and all(map(_has_parts, self._parts))
        )


def of_layer(
    layer: keras.layers.Layer, before: OfLayer | None = None
) -> OfLayer:
    """The plain attributes of a layer: to be compared, not looked at.

    Numbers, strings, functions, arrays, tensors, containers of these, and
    objects with such attributes; not variables, which a compiled function gets,
    nor other layers.

    Args:
        layer: The layer.
        before: What an earlier call returned for the layer, or None. It is
            returned again if the layer shows at once that nothing changed.
    """
    if before is not None and before.is_up_to_date(layer):
        return before
    return OfLayer(layer)


def _chosen(layer: keras.layers.Layer) -> dict[str, Given]:
    """The attributes of a layer that a compiled function depends on."""
    is_own = isinstance(layer, StochasticLayer)
    is_model = isinstance(layer, keras.Model)
    is_graph = is_model and _OF_GRAPH <= vars(layer).keys()
    skipped = _bookkeeping(is_model, is_graph)
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in skipped
        # TensorFlow keeps lists of what is tracked under such names, and we
        # what earlier predictions made.
        and not name.startswith(("_self_", "__kerasdrop_"))
        # The rate of a layer of ours is read when the function runs.
        and not (is_own and name.startswith("_") and name not in _OF_OURS)
    }


def _is_settled(value: Given) -> bool:
    """Whether `_plain` of a value is the same as long as the object is."""
    cls = type(value)
    if value is None or cls in _PLAIN_CLASSES or cls is types.FunctionType:
        return True
    if cls is tuple or cls is frozenset:
        return all(map(_is_settled, value))
    if isinstance(value, _CHANGING):
        return False
    if isinstance(value, _NOT_READ):
        return True
    root = _root(cls)
    return root in (*_OF_KERAS, *_OF_BACKENDS) or root in _OF_PYTHON


def _has_parts(container: tuple[Given, tuple[Given, ...]]) -> bool:
    """Whether a container contains the same objects as before."""
    value, before = container
    parts = _parts_of(value) or ()
    return len(parts) == len(before) and _are_same(parts, before)


def _are_same(values: Iterable[Given], others: Iterable[Given]) -> bool:
    """Whether these are the same objects, of two that are as long."""
    return all(map(operator.is_, values, others))


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
    if value is None or isinstance(value, _NOT_READ):
        return None
    parts = _parts_of(value)
    if parts is not None:
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
    is_of_library = root in _OF_PYTHON or root in _OF_BACKENDS
    if is_of_library and not isinstance(value, types.SimpleNamespace):
        # Ranges, fractions and paths are equal by what they are.
        is_a_value = isinstance(value, Hashable) and not callable(value)
        return (type(value), value) if is_a_value else _Same(value)
    own = _attributes(value)
    return _of_parts(value, own, visited, depth) if own else _Same(value)


def _parts_of(value: Given) -> tuple[Given, ...] | None:
    """What a container contains; None for all else."""
    if isinstance(value, dict):
        return tuple(itertools.chain.from_iterable(value.items()))
    return tuple(value) if isinstance(value, _CONTAINERS) else None


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
