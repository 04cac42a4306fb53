"""Places in a model for dropout, and how to find those at the head."""

import dataclasses

import keras

from kerasdrop._adapters import adapters
from kerasdrop._adapters import registry
from kerasdrop._refusals import Refusal
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.conversion import graphs
from kerasdrop.conversion.graphs import OpenGraph
from kerasdrop.layers.base import StochasticLayer

# Layers with weights that only rescale their inputs.
_UNITS = (keras.layers.Normalization,)
# Names of activations, and of operations of `keras.ops`, that make
# probabilities or their logarithms.
_PROBABILITIES = {
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "sparsemax": "Sparsemax",
    "sigmoid": "Sigmoid",
    "log_sigmoid": "LogSigmoid",
    "hard_sigmoid": "HardSigmoid",
    "sparse_sigmoid": "SparseSigmoid",
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A place for a new layer, on a tensor of a graph.

    Attributes:
        graph: The `OpenGraph`.
        tensor: The symbolic tensor that passes through the layer.
        users: Tuple of the calls that get the layer's output; None among them
            stands for the outputs of the graph. Other calls still get the
            tensor itself.
        is_identity: Whether the layer is an `Identity` that preserves the order
            of the other layers.
    """

    graph: OpenGraph
    tensor: Tensor
    users: tuple[Given, ...]
    is_identity: bool = False


class _NoTop(Exception):
    """A tensor has no head, because the outputs are features."""


def head(model: keras.Model) -> list[Place]:
    """The places before the last layer with a kernel, for each output.

    The search goes back from each output through layers without a kernel (a
    weight of two or more axes). A model without a top ends in a normalization,
    a pooling, a merge of a block with its inputs, a layer that is such a block,
    or features of other outputs. Its place is then after the output. If such an
    output has probabilities, it is refused.

    Raises:
        Refusal: If no layer is found to be the head.
    """
    whole = OpenGraph((model,), "")
    found = []
    for tensor in graphs.distinct(whole.graph.outputs):
        try:
            found.append((tensor, _Search(whole).before(tensor)))
        except _NoTop:
            found.append((tensor, [_behind_output(whole, tensor)]))
    places = {}
    for tensor, ahead in found:
        others = [one for _, them in found for one in them if them is not ahead]
        if any(_is_above(one, other) for one in ahead for other in others):
            # These are features that other outputs depend on.
            ahead = [_behind_output(whole, tensor)]
        for place in ahead:
            places[id(place.tensor), tuple(map(id, place.users))] = place
    return list(places.values())


def _behind_output(graph: OpenGraph, tensor: Tensor) -> Place:
    return Place(graph, tensor, (None,))


def _is_above(one: Place, other: Place) -> bool:
    """Whether the tensor of one place depends on another place."""
    above = set(map(id, other.graph.above(other.tensor)))
    return any(id(node) in above for node in one.users)


class _Search:
    """The search back from an output of one graph."""

    def __init__(self, graph: OpenGraph) -> None:
        self._graph = graph

    def before(self, tensor: Tensor, is_sure: bool = False) -> list[Place]:
        """The places before the layers with kernels that make a tensor.

        Args:
            tensor: A symbolic tensor of the graph.
            is_sure: Whether it certainly goes into predictions, as before a
                softmax. The ends of models without a top are then passed over.

        Raises:
            _NoTop: If it comes from the end of a model without a top.
            Refusal: If no layer is identified as the head.
        """
        node = self._graph.maker(tensor)
        if node is None:
            return _none("an input of a model", is_sure)
        operation = node.operation
        is_sure = is_sure or makes_probabilities(operation)
        inner = self._graph.inner(node)
        if inner is not None and _kernels_in(operation):
            made = [x is tensor for x in node.outputs].index(True)
            return _Search(inner).before(inner.graph.outputs[made], is_sure)
        if _is_model_without_graph(operation):
            raise Refusal(
                f"the head of '{operation.name}' "
                f"({type(operation).__name__}) is written in Python code, "
                "where no layer can be inserted. Name the layers behind which "
                "dropout should be, e.g. "
                f'`where="{self._graph.path_of(operation)}"`'
            )
        if _kernels_in(operation):
            if is_sure or not is_block(operation, node):
                return self._on_inputs(node)
            return _none(f"'{operation.name}'", is_sure)
        if not is_sure and _ends_a_body(operation):
            return _none(f"'{operation.name}'", is_sure)
        floats = float_inputs(node)
        if len(floats) == 1:
            return self.before(floats[0], is_sure)
        return self._before_each(floats, operation, is_sure)

    def _on_inputs(self, node: Given) -> list[Place]:
        floats = float_inputs(node)
        if not floats:
            raise Refusal(
                f"the last layer with a kernel, '{node.operation.name}' "
                f"({model_tree.class_name(node.operation)}), takes integers, "
                "which cannot be dropped. Name the layer behind which dropout "
                f'should be, e.g. `where="{node.operation.name}"`'
            )
        return [Place(self._graph, x, (node,)) for x in floats]

    def _before_each(
        self, tensors: list[Tensor], operation: Given, is_sure: bool
    ) -> list[Place]:
        """The heads of a merge's inputs if these are parallel."""
        found = [place for x in tensors for place in self.before(x, is_sure)]
        if not found:
            return _none(f"'{operation.name}'", is_sure)
        if any(_is_above(one, other) for one in found for other in found):
            # A block is added to its inputs.
            return _none(f"'{operation.name}'", is_sure)
        return found


def _none(end: str, is_sure: bool) -> list[Place]:
    """Raises the error that no layer is the head.

    Args:
        end: The end of the search, in words.
    """
    if is_sure:
        raise Refusal(
            "the model makes probabilities, but between them and "
            f"{end} no layer with a kernel is its head for certain"
        )
    raise _NoTop


def float_inputs(node: Given) -> list[Tensor]:
    return [
        x for x in graphs.distinct(node.input_tensors) if graphs.is_float(x)
    ]


def is_dropped(place: Place) -> bool:
    """Whether a place already has a dropout layer."""
    if _is_dropout(place.graph.operation_behind(place.tensor)):
        return True
    users = place.graph.users(place.tensor)
    return all(node and _is_dropout(node.operation) for node in users)


def _is_dropout(operation: Given) -> bool:
    """Whether an operation drops; a stock layer with rate 0 never does."""
    if isinstance(operation, StochasticLayer):
        return True
    if not registry.is_stock_dropout(operation):
        return False
    return adapters.rate_of(operation) > 0


def has_kernel(operation: Given) -> bool:
    """Whether an operation mixes units by a weight of two or more axes."""
    return bool(_kernels_in(operation))


def _kernels_in(operation: Given) -> list[Given]:
    """The layers inside an operation, or itself, with their own kernels."""
    if not isinstance(operation, keras.layers.Layer):
        return []
    found = []
    for layer in keras_graph.all_layers(operation):
        facts = registry.facts_of(type(layer)) or registry.NOTHING
        inside = {
            id(weight)
            for held in model_tree.sublayers(layer)
            for weight in held.weights
        }
        if facts.passes_factor is None and any(
            len(weight.shape) >= 2 and id(weight) not in inside
            for weight in layer.weights
        ):
            found.append(layer)
    return found


def is_block(operation: Given, node: Given) -> bool:
    """Whether a layer consists of several, and keeps its inputs' shape.

    An example is the encoder layer of a transformer, which is not a head.
    """
    if len(_kernels_in(operation)) < 2:
        return False
    made = node.outputs[0]
    return any(x.shape == made.shape for x in float_inputs(node))


def _is_model_without_graph(operation: Given) -> bool:
    return (
        isinstance(operation, keras.Model)
        and keras_graph.graph_of(operation) is None
        and has_kernel(operation)
    )


def _ends_a_body(operation: Given) -> bool:
    """Whether an operation normalizes or takes maxima, unlike predictions."""
    if not isinstance(operation, keras.layers.Layer):
        return False
    if isinstance(operation, _MAXIMA):
        return True
    facts = registry.facts_of(type(operation)) or registry.NOTHING
    return (
        facts.passes_factor is None
        and not isinstance(operation, _UNITS)
        and any(len(weight.shape) >= 1 for weight in operation.weights)
    )


_MAXIMA = tuple(
    getattr(keras.layers, f"{name}{rank}D")
    for name in ("MaxPooling", "GlobalMaxPooling")
    for rank in (1, 2, 3)
)


def makes_probabilities(operation: Given) -> bool:
    if isinstance(operation, keras.layers.Softmax):
        return True
    if keras_graph.name_of_class(operation) in _PROBABILITIES.values():
        return True
    activation = getattr(operation, "activation", None)
    return activation is not None and any(
        activation is getattr(keras.activations, name)
        for name in _PROBABILITIES
    )
