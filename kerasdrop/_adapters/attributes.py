"""Lists attributes that a trace reads from a layer and that may change."""

import array
import collections
import functools
import itertools
import operator
import sys
import types
import zlib
from collections.abc import Hashable
from collections.abc import Iterable

import keras
import numpy as np

from kerasdrop._backend import peaks
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop.layers.base import StochasticLayer

_PLAIN = (bool, int, float, complex, str, bytes)
_PLAIN_CLASSES = frozenset(_PLAIN)
# Attributes that `fit`, `predict` and `compile` leave on a model.
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
# Attributes with the contents of `_operations` in another order.
_OF_GRAPH = {"_nodes", "_nodes_by_depth", "_operations_by_depth"}
# Private attributes of a layer of this package that a trace reads.
_OF_OURS = ("_stochastic_inference", "_schedule")
# Larger arrays are compared by a checksum, and still larger ones by identity.
_MOST_BYTES = 2**20
_MOST_SUMMED_BYTES = 2**27
_DEEPEST = 8
_MAPPINGS = (dict, types.MappingProxyType)
_CONTAINERS = (tuple, list, set, frozenset, collections.deque, *_MAPPINGS)
# Types whose value may change without a change of an attribute.
_WRITTEN = (slice, bytearray, array.array)
# Types whose objects may have another value later.
_CHANGING = (
    *_CONTAINERS,
    *_WRITTEN,
    keras.DTypePolicy,
    np.generic,
    np.ndarray,
    functools.partial,
)
# These are skipped: a compiled function gets the values of variables, and each
# layer has its own record.
_NOT_READ = (keras.layers.Layer, keras.Variable, keras.KerasTensor)
_OF_KERAS = ("keras", "kerasdrop")
_OF_PYTHON = sys.stdlib_module_names
_OF_BACKENDS = ("tensorflow", "jax", "jaxlib", "torch", "numpy")


class _Same:
    """Equal only to itself; holds the value, so that its `id` stays taken."""

    __slots__ = ("value",)

    def __init__(self, value: Given) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]


@functools.cache
def _bookkeeping(is_model: bool, is_graph: bool) -> set[str]:
    """Names of the attributes that Keras sets on any layer, model or graph."""
    names = set(vars(keras.layers.Layer(name="bare")))
    if is_model:
        names |= _OF_TRAINER | set(vars(keras.Model(name="bare_model")))
    if is_graph:
        names |= _OF_GRAPH
    return names


class OfLayer:
    """The plain attributes of a layer, as they were when they were read.

    Two records are equal if their contents are equal.
    """

    __slots__ = ("_all_names", "_cls", "_names", "_parts", "_plain", "_values")

    def __init__(self, layer: keras.layers.Layer) -> None:
        chosen = _chosen(layer)
        self._cls = type(layer)
        self._all_names = tuple(vars(layer))
        self._names = tuple(chosen)
        self._values = tuple(chosen.values())
        # Containers with their contents; None if a value may change in another
        # way while it is the same object.
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

        Each prediction asks this for all layers of a model, so the loops run in
        C.
        """
        now = vars(layer)
        return (
            self._parts is not None
            and type(layer) is self._cls
            and tuple(now) == self._all_names
            and all(
                map(
                    operator.is_,
                    map(now.__getitem__, self._names),
                    self._values,
                )
            )
            and all(map(_has_parts, self._parts))
        )


def of_layer(
    layer: keras.layers.Layer, before: OfLayer | None = None
) -> OfLayer:
    """The plain attributes of a layer, in a form to compare.

    These are numbers, strings, functions, arrays, tensors, containers of these,
    and objects with such attributes. Variables, which a compiled function gets
    as arguments, and other layers are left out.

    Args:
        layer: The layer.
        before: What an earlier call returned for the layer, or None. It is
            returned again if a quick comparison shows that nothing changed.
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
        # TensorFlow keeps lists of tracked objects under such names, and this
        # package keeps results of earlier predictions there.
        and not name.startswith(("_self_", "__kerasdrop_"))
        # A layer of this package reads its rate when the function runs.
        and not (is_own and name.startswith("_") and name not in _OF_OURS)
    }


def _is_settled(value: Given) -> bool:
    """Whether `_plain` of an object never changes."""
    cls = type(value)
    if value is None or cls in _PLAIN_CLASSES or cls is types.FunctionType:
        return True
    if cls is tuple or cls is frozenset:
        return all(map(_is_settled, value))
    if isinstance(value, _CHANGING):
        return False
    if isinstance(value, _NOT_READ):
        return True
    if cls is types.MethodType:
        return _is_settled(value.__self__)
    return _root(cls) in _OF_KERAS or _is_closed(value)


def _is_closed(value: Given) -> bool:
    """Whether this is an object of a library whose attributes are not read.

    Python's own objects that can change, such as a `UserDict` or a namespace,
    have no hash.
    """
    root = _root(type(value))
    if root in _OF_BACKENDS:
        return True
    return root in _OF_PYTHON and isinstance(value, Hashable)


def _has_parts(container: tuple[Given, tuple[Given, ...]]) -> bool:
    """Whether a container contains the same objects as before."""
    value, before = container
    parts = _parts_of(value) or ()
    return len(parts) == len(before) and all(map(operator.is_, parts, before))


def of_class(cls: type) -> list[tuple[Given, ...]]:
    """The methods and attributes of a user's class.

    IPython writes edited methods into existing classes.
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
    """A key that is equal as long as a value and its contents are the same."""
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
        return _of_array(value, visited, depth)
    if keras.ops.is_tensor(value):
        # Another function cannot read a traced tensor.
        return _Same(value) if peaks.is_concrete(value) else None
    if isinstance(value, _WRITTEN):
        return type(value), repr(value)
    if isinstance(value, types.MethodType):
        own = _plain(value.__self__, visited, depth)
        return _Same(value.__func__), _Same(value.__self__), own
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return _of_parts(value, parts, visited, depth)
    if _is_closed(value):
        # Ranges, fractions and paths compare by value.
        is_a_value = isinstance(value, Hashable) and not callable(value)
        return (type(value), value) if is_a_value else _Same(value)
    own = _attributes(value)
    return _of_parts(value, own, visited, depth) if own else _Same(value)


def _of_array(value: Array, visited: set[int], depth: int) -> Given:
    form = value.shape, value.dtype.str
    if value.nbytes <= _MOST_BYTES:
        if not value.dtype.hasobject:
            return *form, value.tobytes()
        if value.dtype == object:
            return *form, _of_parts(value, value.flat, visited, depth)
    is_in_memory = not isinstance(value, np.memmap)
    if (
        is_in_memory
        and value.nbytes <= _MOST_SUMMED_BYTES
        and not value.dtype.hasobject
    ):
        # The bytes, since Python's buffers do not know all types of NumPy.
        flat = np.ascontiguousarray(value).reshape(-1).view("uint8")
        return *form, zlib.crc32(flat)
    return _Same(value)


def _parts_of(value: Given) -> tuple[Given, ...] | None:
    """What a container contains; None for all else."""
    if isinstance(value, _MAPPINGS):
        return tuple(itertools.chain.from_iterable(value.items()))
    return tuple(value) if isinstance(value, _CONTAINERS) else None


def _of_parts(
    value: Given, parts: Iterable[Given], visited: set[int], depth: int
) -> Given:
    """A key of a container or an object, by its type and its contents."""
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
