"""Facts about an operation of a graph that can be read without running it."""

from collections.abc import Sequence

import keras
from keras import tree

from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape

# For these, `axis=None` means all axes although the shape stays.
_OVER_ALL_AXES = {"Flip", "Roll"}


def shapes_by(
    spec: Function, node: Given, tried: dict[int, Given]
) -> list[tuple[Shape, Shape]]:
    """The shapes of each output of a call, a pair for the two batches.

    Args:
        spec: Function of the operation's arguments that returns its outputs as
            `keras.KerasTensor`s.
        node: The call.
        tried: Dict from the id of an input to its pair of tensors, or to None.

    Raises:
        ValueError: If a size is unknown.
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
        raise ValueError(
            f"{words(node.operation, '')} must have outputs of known shapes. "
            f"Received: {pairs}"
        )
    return pairs


def has_moved_an_axis(node: Given) -> bool:
    """Whether Keras inferred an axis of unknown size that no input has."""
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
    """Whether Keras wrote all of a layer; a user's function counts as not."""
    cls = type(layer)
    return cls is not keras.layers.Lambda and (
        cls.__module__.startswith("keras.src.layers.")
    )


def named_axes(operation: keras.layers.Layer, rank: int) -> Sequence[int]:
    """The axes that `operation` was told to work along, counted from 0."""
    cls = type(operation)
    if isinstance(operation, keras.layers.Layer) and (
        # The `axis` of these layers may be the one that they keep.
        not is_of_keras(operation) or model_tree.is_preprocessing(operation)
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
