"""What code of Python reads off a layer when it is traced, and may change."""

import functools

import keras
import numpy as np

from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.layers.base import StochasticLayer

_PLAIN = (bool, int, float, complex, str, bytes)
_PLAIN_CLASSES = frozenset(_PLAIN)
# What `fit`, `predict` and `compile` leave on a model.
_OF_TRAINER = {
    "_compile_config",
    "_compiled_trainable_state",
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
_MOST_BYTES = 4096


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

    Numbers, strings, functions, small arrays, and tuples, lists and dicts of
    these; not tensors and variables, which a compiled function gets, nor
    other layers.
    """
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
            value = _plain(value, 3)
            if value is not None:
                found.append((name, value))
    return found


_OF_OURS = ("_stochastic_inference", "_schedule")


def _plain(value: Structure, depth: int) -> Given:
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, keras.layers.Layer) or value is None:
        return None
    if isinstance(value, np.ndarray):
        if value.nbytes > _MOST_BYTES or value.dtype.hasobject:
            return _Same(value)
        return value.shape, value.dtype.str, value.tobytes()
    if depth and isinstance(value, (tuple, list)):
        classes = tuple(map(type, value))
        if _PLAIN_CLASSES.issuperset(classes):
            return classes, tuple(value)
        return [_plain(one, depth - 1) for one in value]
    if depth and isinstance(value, dict):
        return [
            (key if isinstance(key, _PLAIN) else None, _plain(one, depth - 1))
            for key, one in value.items()
        ]
    return _Same(value) if callable(value) else None
