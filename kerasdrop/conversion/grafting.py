"""Copies one graph with further layers on some of its tensors."""

import dataclasses

import keras
from keras import tree

from kerasdrop._structure import keras_graph
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor


@dataclasses.dataclass(frozen=True)
class Graft:
    """A new layer, and the tensor of the old graph that passes through it.

    Attributes:
        layer: The layer.
        tensor: The symbolic tensor of the old graph.
        users: Tuple of the calls of the old graph that get the output of the
            layer in the new one; None among them stands for the graph's
            outputs.
    """

    layer: keras.layers.Layer
    tensor: Tensor
    users: tuple[Given, ...]


def listed(
    model: keras.Sequential, copy: Function, grafts: list[Graft]
) -> list[keras.layers.Layer]:
    """Copies of the layers of a sequential model, with the new ones."""
    graph = keras_graph.graph_of(model)
    after = {id(one.tensor): one.layer for one in grafts}
    body = [after.get(id(tensor)) for tensor in graph.inputs]
    own = set(map(id, model.layers))
    for node in keras_graph.nodes_of(graph):
        # Operations that are not its layers make masks, which Keras repeats.
        if id(node.operation) in own:
            body += [copy(node.operation), after.get(id(node.outputs[0]))]
    return [layer for layer in body if layer is not None]


def copy_of(
    shell: keras.Model,
    inputs: Structure,
    copy: Function,
    grafts: list[Graft],
) -> keras.Model:
    """A copy of a functional model with new layers in it.

    Args:
        shell: The model, not compiled.
        inputs: Its new inputs, in the structure of its inputs.
        copy: Function that copies a layer or operation.
        grafts: List of `Graft`.
    """
    passed = _Passed(grafts)
    nodes = keras_graph.nodes_of(shell)

    def call(operation: Given, *args: Given, **kwargs: Given) -> Structure:
        # Keras asks for the calls in the order of `nodes_of`.
        node = next(nodes)
        olds = {id(tensor): tensor for tensor in node.input_tensors}
        args, kwargs = tree.map_structure(
            lambda old, new: passed.through(old, new, node),
            keras_graph.arguments_of(node, olds),
            (args, kwargs),
        )
        return operation(*args, **kwargs)

    clone = keras.models.clone_model(
        shell,
        input_tensors=inputs,
        clone_function=copy,
        call_function=call,
    )
    outputs = tree.map_structure(
        lambda old, new: passed.through(old, new, None),
        shell.output,
        clone.output,
    )
    return type(shell)(inputs, outputs, name=shell.name)


class _Passed:
    """The tensors after the new layers, each of which is called once."""

    def __init__(self, grafts: list[Graft]) -> None:
        self._grafts = {
            (id(one.tensor), id(user)): one
            for one in grafts
            for user in one.users
        }
        self._made: dict[int, Tensor] = {}

    def through(self, old: Given, new: Given, user: Given) -> Given:
        """The input of a call in place of `old`, whose copy is `new`."""
        one = self._grafts.get((id(old), id(user)))
        if one is None:
            return new
        if id(one) not in self._made:
            self._made[id(one)] = one.layer(new)
        return self._made[id(one)]
