"""Places on the branches of blocks, before they are merged with the rest."""

import keras
import numpy as np
from keras import ops

from kerasdrop._refusals import Refusal
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.conversion import graphs
from kerasdrop.conversion import places
from kerasdrop.conversion.graphs import OpenGraph
from kerasdrop.conversion.places import Place

# Names of classes of Keras' layers and operations.
_SUMS = ("Add", "Average", "Subtract")
_CONCATENATIONS = ("Concatenate",)


def blocks(model: keras.Model) -> list[Place]:
    """The places on the branches before each merge on every path.

    Dropout after the sums would act on channels that earlier blocks have
    already dropped: with 16 successive sums and a rate of .1 a channel passes
    with probability .9^16 = .19. On the branches the variances add up.

    Raises:
        Refusal: If there is no such merge.
    """
    found = []
    others = []
    for graph in graphs.graphs_in(model):
        cuts = set(map(id, graph.cuts))
        for node in graph.nodes:
            if is_merge(node) and id(node.outputs[0]) in cuts:
                found += _before(graph, node)
            elif is_merge(node):
                others.append(graph.path_of(node.operation))
    if found:
        return found
    listed = ", ".join(map(repr, others[:20]))
    if listed:
        raise Refusal(
            "no sum or concatenation of a block with kernels lies on every "
            f"path. Others are: {listed}"
        )
    closed = [
        repr(graph.path_of(node.operation))
        for graph in graphs.graphs_in(model)
        for node in graph.nodes
        if places.is_block(node.operation, node)
    ]
    if closed:
        raise Refusal(
            f"its blocks {', '.join(closed[:3])} are layers, and dropout "
            "cannot be inserted inside them. Layers that are made with their "
            "own rate draw at that rate; `where=[…]` with their names inserts "
            "dropout behind them"
        )
    raise Refusal(
        "there is no sum or concatenation of a block with kernels and its "
        'inputs. For a chain of layers use `where="stages"`'
    )


def _before(graph: OpenGraph, merge: Given) -> list[Place]:
    """The places before one merge: dropout on branches, else an identity."""
    cuts = graph.cuts
    position = [x is merge.outputs[0] for x in cuts].index(True)
    if position == 0:
        return []  # it merges inputs of the model
    start = cuts[position - 1]
    between = {id(x): graph.above(x, start) for x in places.float_inputs(merge)}
    kernels = {
        id(x): sum(map(_transforms, between[id(x)]))
        for x in places.float_inputs(merge)
    }
    least = min(kernels.values())
    if least == max(kernels.values()) or is_concatenation(merge):
        # Only an input that is passed on unchanged is a shortcut.
        least = 0
    if not any(kernels.values()):
        return []
    branches = [
        Place(graph, x, (merge,))
        for x in places.float_inputs(merge)
        if kernels[id(x)] > least
    ]
    free = [place for place in branches if not places.is_dropped(place)]
    if not free:
        return branches
    dropped = {id(place.tensor) for place in free}
    return free + [
        Place(graph, x, (merge,), is_identity=True)
        for x in places.float_inputs(merge)
        if id(x) not in dropped
        and any(_has_weights(node.operation) for node in between[id(x)])
    ]


def _transforms(node: Given) -> bool:
    """Whether a call mixes units of its inputs by a kernel.

    An embedding of positions has a kernel, but uses only the shape of the
    tensor that it is added to, so that sum does not end a block.
    """
    operation = node.operation
    if not places.has_kernel(operation):
        return False
    is_simple = (
        keras_graph.name_of_class(operation) is None
        and not operation.non_trainable_variables
        and not model_tree.sublayers(operation)
    )
    floats = places.float_inputs(node)
    return not (is_simple and len(floats) == 1 and _ignores(node, floats[0]))


def _ignores(node: Given, tensor: Tensor) -> bool:
    """Whether a layer ignores the values of its inputs, by two calls."""
    generator = np.random.default_rng(0)
    made = [_called(node, {id(tensor): _numbers(tensor, generator)})]
    made.append(_called(node, {id(tensor): _numbers(tensor, generator)}))
    return np.array_equal(*made)


def _has_weights(operation: Given) -> bool:
    return bool(getattr(operation, "weights", ()))


def is_concatenation(node: Given) -> bool:
    """Whether a call concatenates tensors."""
    return keras_graph.name_of_class(node.operation) in _CONCATENATIONS


def is_merge(node: Given) -> bool:
    """Whether a call adds or concatenates several tensors."""
    operation = node.operation
    floats = places.float_inputs(node)
    if len(floats) < 2 or len(node.outputs) != 1:
        return False
    name = keras_graph.name_of_class(operation)
    if name is not None:
        return name in (*_SUMS, *_CONCATENATIONS)
    return (
        isinstance(operation, keras.layers.Layer)
        and not operation.variables
        and not model_tree.sublayers(operation)
        and all(x.shape == node.outputs[0].shape for x in floats)
        and _adds(node, floats)
    )


def _adds(node: Given, tensors: list[Tensor]) -> bool:
    """Whether a layer of another class adds its inputs, by three calls.

    The contribution of one input must not depend on the other inputs.
    """
    generator = np.random.default_rng(0)
    before, after = (
        {id(x): _numbers(x, generator) for x in tensors} for _ in range(2)
    )
    first = id(tensors[0])

    def made(values: dict[int, Array]) -> Array:
        return _called(node, values)

    alone = made({**before, first: after[first]}) - made(before)
    together = made(after) - made({**after, first: before[first]})
    # This allows the rounding of numbers of about 1, even in half precision. A
    # product would be off by about 1.
    return bool(np.all(np.abs(alone - together) < 0.1) and np.any(alone))


def _numbers(tensor: Tensor, generator: np.random.Generator) -> Array:
    """Numbers of one row, in the shape of a symbolic tensor."""
    shape = [2 if size is None else size for size in tensor.shape]
    return generator.normal(size=[1, *shape[1:]])


def _called(node: Given, values: dict[int, Array]) -> Array:
    """The outputs of a layer; NaN, which equals nothing, if it fails.

    Args:
        values: Dict from the ids of its floating-point input tensors to
            numbers.
    """
    floats = places.float_inputs(node)
    given = {id(x): ops.cast(values[id(x)], x.dtype) for x in floats}
    try:
        args, kwargs = keras_graph.arguments_of(node, given)
        outputs = node.operation(*args, **kwargs)
        return ops.convert_to_numpy(ops.cast(outputs, "float32"))
    except Exception:  # a user's layer may raise any class
        return np.array(np.nan)
