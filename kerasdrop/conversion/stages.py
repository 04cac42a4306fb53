"""Places at the ends of stages, where the size of tensors decreases."""

import itertools
import math

import keras

from kerasdrop._refusals import Refusal
from kerasdrop._structure import keras_graph
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.conversion import branches
from kerasdrop.conversion import graphs
from kerasdrop.conversion import places
from kerasdrop.conversion.graphs import OpenGraph
from kerasdrop.conversion.places import Place

# Names of classes of Keras' layers and operations.
_ACTIVATIONS = (
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU"),
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Silu"),
    *("HardSilu", "Softplus", "Mish", "Tanh", "Glu"),
)


def stages(model: keras.Model) -> list[Place]:
    """The places after the last activation or merge of each size.

    Only activations and merges on every path count, and not inputs or paddings.
    The last stage ends with the last of them.

    Raises:
        Refusal: If the size never decreases, or is unknown.
    """
    found = []
    for graph in graphs.graphs_in(model):
        found += _ends(graph)
    if not found:
        raise Refusal(
            "the size of its feature maps never falls behind an activation, "
            "sum or concatenation that lies on every path"
        )
    return found


def _ends(graph: OpenGraph) -> list[Place]:
    sized = [
        (x, _size(graph, x))
        for x in graph.cuts
        if len(x.shape) >= 3 and _may_end(graph.maker(x))
    ]
    sized = [(x, size) for x, size in sized if size > 1]
    ends = [
        x
        for (x, size), (_, behind) in itertools.pairwise(sized)
        if behind < size
    ]
    if sized and (ends or _falls_to_a_vector(graph, sized[-1][0])):
        last, size = sized[-1]
        if size == min(size for _, size in sized):
            ends.append(last)
    return [Place(graph, x, graph.users(x)) for x in ends]


def _falls_to_a_vector(graph: OpenGraph, tensor: Tensor) -> bool:
    return any(len(x.shape) < len(tensor.shape) for x in graph.graph.outputs)


def _size(graph: OpenGraph, tensor: Tensor) -> int:
    """How many pixels or steps a tensor has."""
    shape = list(tensor.shape[1:])
    is_first = graph.data_format(tensor) == "channels_first"
    del shape[0 if is_first else -1]
    if None in shape:
        name = graph.operation_behind(tensor).name
        raise Refusal(
            f"the size of what '{name}' makes is not known: its shape is "
            f"{tensor.shape}. Build the model with a known `input_shape`, and "
            "with the same weights"
        )
    return math.prod(shape)


def _may_end(node: Given) -> bool:
    """Whether a stage may end after a call: an activation or a merge."""
    if node is None or places.makes_probabilities(node.operation):
        return False
    if isinstance(node.operation, keras.Model):
        return False  # its own graph has the stages
    name = keras_graph.name_of_class(node.operation)
    activation = getattr(node.operation, "activation", None)
    return (
        name in _ACTIVATIONS
        or activation not in (None, keras.activations.linear)
        or branches.is_merge(node)
    )
