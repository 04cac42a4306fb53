"""Infers the kind of each output from a model's graph.

An output is traced back through operations that keep probabilities (reshapes,
casts, averages, inner models) to the activation that made it. Any other output
is a regression.
"""

import dataclasses

import keras

from kerasdrop._adapters import registry
from kerasdrop._structure import keras_graph
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor

REGRESSION = "regression"

_OPERATIONS = {
    "Softmax": "probabilities",
    "LogSoftmax": "logits",
    "Sigmoid": "binary",
}
_FUNCTIONS = (
    (keras.activations.softmax, "probabilities"),
    (keras.ops.softmax, "probabilities"),
    (keras.activations.log_softmax, "logits"),
    (keras.ops.log_softmax, "logits"),
    (keras.activations.sigmoid, "binary"),
    (keras.ops.sigmoid, "binary"),
)


@dataclasses.dataclass(frozen=True)
class Read:
    """What was inferred for one output.

    Attributes:
        kind: One of `kinds.KINDS`.
        class_axis: Integer, the axis with the classes, or None. It is not the
            last axis if the model moves it.
        rank: Integer, the number of axes.
    """

    kind: str
    class_axis: Given = None
    rank: Given = None


_OTHER = Read(REGRESSION)


def read(model: keras.Model) -> Given:
    """Returns a `Read` for each output, or None for a model without a graph."""
    graph = keras_graph.graph_of(model)
    if graph is None:
        return None
    found = [_of_tensor(tensor, graph, {}) for tensor in graph.outputs]
    return keras_graph.packed_outputs(graph, found)


def _of_tensor(
    tensor: Tensor, graph: keras.Model, outer: dict[int, Given]
) -> Read:
    """Returns the `Read` of a symbolic tensor of a graph.

    Args:
        outer: Dict from the id of an input of the graph to a function that
            returns its `Read` in the outer graph.
    """
    node = keras_graph.node_making(graph, tensor)
    if node is not None:
        number = next(i for i, t in enumerate(node.outputs) if t is tensor)
        return _of_call(node, number, graph, outer)
    inside = outer.get(id(tensor))
    return _OTHER if inside is None else inside()


def _of_call(
    node: Given, number: int, graph: keras.Model, outer: dict[int, Given]
) -> Read:
    """Returns the `Read` of output `number` of a call."""

    def of_inputs() -> list[Read]:
        return [_of_tensor(t, graph, outer) for t in node.input_tensors]

    return _of_operation(
        node.operation,
        node.outputs[number],
        node.input_tensors,
        number,
        of_inputs,
        lambda t: lambda: _of_tensor(t, graph, outer),
    )


def _of_operation(
    operation: keras.layers.Layer,
    output: Tensor,
    inputs: list[Tensor],
    number: int,
    of_inputs: Function,
    reader: Function,
) -> Read:
    inner = keras_graph.graph_of(operation)
    if inner is not None:
        outer = {}
        if len(inner.inputs) == len(inputs):
            outer = {
                id(inside): reader(tensor)
                for inside, tensor in zip(inner.inputs, inputs)
            }
        return _of_tensor(inner.outputs[number], inner, outer)
    if registry.nearest_facts(type(operation)).is_layer_inside:
        # The operation may see one axis less, so axes are counted from the end.
        return _of_operation(
            operation.layer, output, inputs, number, of_inputs, reader
        )
    rank = len(output.shape)
    name = keras_graph.name_of_class(operation)
    if name in _OPERATIONS:
        return _made(_OPERATIONS[name], getattr(operation, "axis", -1), rank)
    axis_behind = _axis_behind(operation)
    if axis_behind is not None:
        return _kept(axis_behind, operation, output, inputs, of_inputs())
    if isinstance(operation, keras.layers.RNN):
        return _OTHER  # the activation is one of several factors
    return _of_activation(operation, rank, of_inputs)


def _of_activation(
    operation: keras.layers.Layer, rank: int, of_inputs: Function
) -> Read:
    activation = getattr(operation, "activation", None)
    if isinstance(activation, keras.layers.Softmax):
        return _made("probabilities", activation.axis, rank)
    for function, kind in _FUNCTIONS:
        if activation is function:
            return _made(kind, -1, rank)
    is_linear = activation is keras.activations.linear
    if is_linear and isinstance(operation, keras.layers.Activation):
        return of_inputs()[0]
    return _OTHER


def _made(kind: str, axis: int, rank: int) -> Read:
    if kind == "binary":
        return Read(kind)
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    if len(axes) != 1:  # a softmax over several axes
        return _OTHER
    return Read(kind, axes[0] % rank, rank)


def _kept(
    axis_behind: Function,
    operation: keras.Operation,
    output: Tensor,
    inputs: list[Tensor],
    found: list[Read],
) -> Read:
    """The `Read` of probabilities after a call that only moves elements."""
    if len(set(found)) != 1 or found[0].kind == REGRESSION:
        return _OTHER
    (first, *_) = found
    if first.kind == "binary":
        return first
    before, after = list(inputs[0].shape), list(output.shape)
    axis = axis_behind(operation, first.class_axis, before, after)
    if axis is None or after[axis] != before[first.class_axis]:
        return _OTHER
    return Read(first.kind, axis, len(after))


# Functions of (operation, class axis, shape before, shape after) that return
# the class axis after the operation, or None if it mixes classes.


def _same_axis(
    operation: keras.Operation,
    axis: int,
    before: list[int | None],
    after: list[int | None],
) -> int:
    return axis


def _last_axis(
    operation: keras.Operation,
    axis: int,
    before: list[int | None],
    after: list[int | None],
) -> int | None:
    if getattr(operation, "data_format", None) == "channels_first":
        return None
    return len(after) - 1 if after and axis == len(before) - 1 else None


def _picked_axis(
    operation: keras.Operation,
    axis: int,
    before: list[int | None],
    after: list[int | None],
) -> int | None:
    # Only the sizes show which axes an index removes.
    is_unique = before[1:].count(before[axis]) == 1
    return _last_axis(operation, axis, before, after) if is_unique else None


def _axis_of_mean(
    operation: keras.Operation,
    axis: int,
    before: list[int | None],
    after: list[int | None],
) -> int | None:
    over = operation.axis
    over = range(len(before)) if over is None else over
    over = [over] if isinstance(over, int) else over
    over = {one % len(before) for one in over}
    if axis in over:
        return None
    if len(before) == len(after):
        return axis
    return axis - sum(one < axis for one in over)


def _axis_of_stack(
    operation: keras.Operation,
    axis: int,
    before: list[int | None],
    after: list[int | None],
) -> int:
    return axis + (operation.axis % len(after) <= axis)


def _axis_of_concatenation(
    operation: keras.Operation, axis: int, before: Given, after: Given
) -> Given:
    return None if operation.axis % len(before) == axis else axis


def _axis_of_permutation(
    operation: keras.layers.Layer,
    axis: int,
    before: list[int | None],
    after: list[int | None],
) -> int:
    return (0, *operation.dims).index(axis)


def _axis_of_transpose(
    operation: keras.Operation, axis: int, before: Given, after: Given
) -> Given:
    axes = operation.axes or range(len(before))[::-1]
    return [one % len(before) for one in axes].index(axis)


# Operations have no public classes. Layers are in the registry.
_AXIS_BEHIND = {
    "Cast": _same_axis,
    "GetItem": _picked_axis,
    "Mean": _axis_of_mean,
    "Stack": _axis_of_stack,
    "Concatenate": _axis_of_concatenation,
    "Permute": _axis_of_permutation,
    "Transpose": _axis_of_transpose,
    **dict.fromkeys(("Reshape", "Squeeze", "ExpandDims"), _last_axis),
}
_AXIS_BEHIND_LAYER = {
    registry.SAME_AXIS: _same_axis,
    registry.LAST_AXIS: _last_axis,
}


def _axis_behind(operation: keras.layers.Layer) -> Function | None:
    """Returns one of these functions; None if an operation computes anew."""
    facts = registry.facts_of(type(operation)) or registry.NOTHING
    if facts.class_axis is not None:
        return _AXIS_BEHIND_LAYER[facts.class_axis]
    return _AXIS_BEHIND.get(keras_graph.name_of_class(operation) or "")
