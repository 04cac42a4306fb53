"""What an operation of a graph tells without being run."""

from collections.abc import Sequence

import keras
from keras import tree

from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape

# `axis=None` means all axes, though the shape stays.
_OVER_ALL_AXES = {"Flip", "Roll"}


def shapes_by(
    spec: Function, node: Given, tried: dict[int, Given]
) -> list[tuple[Shape, Shape]]:
    """The shapes of each output of a call, a pair for the two batches.

    Args:
        spec: Function of what the operation is called with that returns what
            comes out of it, as `keras.KerasTensor`s.
        node: The call.
        tried: Dict of what its inputs are, by id: a pair each, or None.

    Raises:
        ValueError: If a size is not known.
    """
    outputs = []
    for number in (0, 1):
        tensors = {
            id(tensor): tried[id(tensor)] and tried[id(tensor)][number]
            for tensor in node.input_tensors
        }
        args, kwargs = keras_graph.arguments_of(node, tensors)
        flat = tree.flatten(spec(*args, **kwargs))
        outputs.append([tuple(tensor.shape) for tensor in flat])
    pairs = list(zip(*outputs, strict=True))
    is_known = len(pairs) == len(node.outputs) and not any(
        len(one) != len(other) or None in (*one, *other) for one, other in pairs
    )
    if not is_known:
        raise ValueError("Not known.")
    return pairs


def has_moved_an_axis(node: Given) -> bool:
    """Whether Keras found an open axis where there was none."""
    axes = {
        axis
        for tensor in node.input_tensors
        for axis, size in enumerate(tensor.shape)
        if size is None
    }
    return any(
        size is None and axis not in axes
        for tensor in node.outputs
        for axis, size in enumerate(tensor.shape)
    )


def tells_its_shape(layer: keras.layers.Layer) -> bool:
    """Whether a layer tells its output shape without being called."""
    cls = type(layer)
    if not isinstance(layer, keras.layers.Layer):
        return True
    if cls is keras.layers.Lambda:
        return False
    plain = keras.layers.Layer
    return (
        cls.compute_output_shape is not plain.compute_output_shape
        or cls.compute_output_spec is not plain.compute_output_spec
    )


def is_of_keras(layer: keras.layers.Layer) -> bool:
    """Whether all of a layer is written by Keras: a function is not."""
    cls = type(layer)
    return cls is not keras.layers.Lambda and (
        cls.__module__.startswith("keras.src.layers.")
    )


def named_axes(operation: keras.layers.Layer, rank: int) -> Sequence[int]:
    """The axes along which `operation` is told to work, from 0 on."""
    cls = type(operation)
    if isinstance(operation, keras.layers.Layer) and (
        # What it holds there is the axis that it keeps.
        not is_of_keras(operation) or ".preprocessing." in cls.__module__
    ):
        return ()
    if not hasattr(operation, "axis"):
        return ()
    axes = operation.axis
    if axes is None:
        return range(rank) if cls.__name__ in _OVER_ALL_AXES else ()
    return [
        axis % rank
        for axis in (axes if isinstance(axes, (list, tuple)) else [axes])
        if isinstance(axis, int)
    ]


def words(operation: keras.Operation, path: str) -> str:
    name = f"'{path}{operation.name}'"
    if isinstance(operation, keras.layers.Layer):
        return f"layer {name} ({model_tree.class_name(operation)})"
    return f"operation {name} ({type(operation).__name__})"
