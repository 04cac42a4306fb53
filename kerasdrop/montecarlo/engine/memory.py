"""Estimates from shapes how much memory a sample of a row needs.

The estimate decides what is fast and where to begin. The actual need is
measured.
"""

import math

import keras
from keras import tree

from kerasdrop._adapters import registry
from kerasdrop._adapters import survey
from kerasdrop._backend import peaks
from kerasdrop._structure import keras_graph
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.splitting import replay

# A layer needs about as much as its inputs and outputs again, for masks and for
# padded and rearranged copies.
_WORKSPACE = 2


def bytes_per_sample(
    model: keras.Model, inputs: Structure, choice: choices.Choice
) -> int | None:
    """The bytes that one sample of one row needs at a time, by its shapes.

    The outputs of all layers after the first that draws are counted from when
    they are made until they are last used. A kernel of `DropConnect`, which
    each row has for itself, is counted during the call.

    Args:
        model: A built model.
        inputs: Its inputs, arrays or tensors, of any number of rows.
        choice: The `choice.Choice` of what is drawn.

    Returns:
        An integer; None for a model without a graph of layers, whose
        intermediate results are unknown.
    """
    graph = keras_graph.graph_of(model)
    if graph is None:
        return None
    calls = _Calls(_longest(inputs))
    found = survey.of(model)
    holders = found.holders_of(filter(choice.draws, found.drawable))
    replay.observe_shapes(model, holders, calls, inputs)
    return max(1, _WORKSPACE * calls.peak())


def bytes_of_plain_call(model: keras.Model, inputs: Structure) -> int:
    """The bytes of all tensors that a plain call of one row makes in graphs.

    If the call is not compiled, Keras holds all of them until its end.

    Args:
        model, inputs: As for `bytes_per_sample`.
    """
    length = _longest(inputs)
    graphs = {
        id(graph): graph
        for layer in keras_graph.all_layers(model)
        if (graph := keras_graph.graph_of(layer)) is not None
    }
    return sum(
        _bytes_of_row(tensor, length)
        for graph in graphs.values()
        for node in keras_graph.nodes_of(graph)
        for tensor in tree.flatten(node.outputs)
    )


def _longest(inputs: Structure) -> int:
    """The size that stands for an unknown size of an axis."""
    given = [x for x in tree.flatten(inputs) if x is not None]
    return max((size for x in given for size in x.shape[1:]), default=1)


def _bytes_of_row(tensor: Tensor, length: int) -> int:
    sizes = [size or length for size in tensor.shape[1:]]
    return math.prod(sizes) * peaks.item_size(tensor)


class _Calls:
    """Records the calls that are made for each sample."""

    def __init__(self, length: int) -> None:
        self._length = length  # stands for an unknown size
        self._calls: list[Given] = []

    def __call__(
        self,
        operation: keras.layers.Layer,
        inputs: list[Tensor],
        outputs: list[Tensor],
        is_folded: bool,
        begins: bool,
    ) -> None:
        if is_folded:
            inputs = [*inputs, *_kernels_of_rows(operation)]
            self._calls.append((inputs, outputs))

    def peak(self) -> int:
        last_use = {}
        for number, (inputs, outputs) in enumerate(self._calls):
            last_use.update(dict.fromkeys(map(id, inputs), number))
            # A tensor that no call uses is an output of the model, and stays.
            for output in outputs:
                last_use[id(output)] = len(self._calls)
        alive, peak = {}, 0
        for number, (inputs, outputs) in enumerate(self._calls):
            for tensor in (*inputs, *outputs):
                alive[id(tensor)] = _bytes_of_row(tensor, self._length)
            peak = max(peak, sum(alive.values()))
            alive = {
                key: size
                for key, size in alive.items()
                if last_use[key] > number
            }
        return peak


def _kernels_of_rows(operation: keras.layers.Layer) -> list[Given]:
    """Stand-ins for the kernels that a call makes, one for each row."""
    if not isinstance(operation, keras.layers.Layer):
        return []  # an operation of `keras.ops`
    return [
        keras.KerasTensor(
            (None, *layer.layer.kernel.shape), layer.compute_dtype
        )
        for layer in keras_graph.all_layers(operation)
        if registry.nearest_facts(type(layer)).has_kernel_of_rows
    ]
