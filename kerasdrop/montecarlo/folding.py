"""Runs a model's deterministic part once and the rest once per sample.

A tensor is either plain, `(batch, ...)`, or folded, `(batch * samples, ...)`
with the samples of a row side by side. The graph is walked call by call:
plain inputs make plain outputs, until a layer draws. There, and behind it,
what is still plain is folded first.

The model is not cut in two: making two models of one rewrites the history of
its inputs and breaks its `get_config`.
"""

import collections
from typing import NamedTuple

import keras
from keras import ops
from keras import tree

from kerasdrop import _keras_graph


class Fold(keras.layers.Layer):
    """Repeats each row `num_samples` times, its padding mask included.

    A layer only because Keras hands masks from layer to layer.
    """

    def __init__(self, num_samples):
        super().__init__(autocast=False)
        self.num_samples = num_samples
        self.supports_masking = True
        self.built = True

    def call(self, inputs):
        return ops.repeat(inputs, self.num_samples, axis=0)

    def compute_mask(self, inputs, previous_mask):
        if previous_mask is None:
            return None
        return ops.repeat(previous_mask, self.num_samples, axis=0)


class _Value(NamedTuple):
    tensor: object
    is_folded: bool


class _Memory:
    """What the prefix of one call of a graph leaves to the rest.

    Attributes:
        values: The plain results that are still needed, by symbolic tensor.
        done: Ids of the nodes that need not be called again.
        of_call: The memories of the graphs called inside, by node.
    """

    def __init__(self):
        self.values = {}
        self.done = set()
        self.of_call = {}


class FoldedModel:
    """A model on given inputs, of which any number of samples can be asked.

    Args:
        model: A built model.
        inputs: Its inputs, tensors `(batch, ...)`.
        stochastic: Ids of all layers that draw, or hold a layer that does.
        observe: None, or what is told of each call of the graph: function of
            (operation, inputs, outputs, whether they are folded, whether
            what was folded begins here), the tensors as flat lists.
    """

    def __init__(self, model, inputs, stochastic, observe=None):
        self._model = model
        self._inputs = inputs
        self._stochastic = stochastic
        self._observe = observe
        self._memory = _Memory()
        self._graph = _keras_graph.graph_of(model)
        if self._graph is not None:
            prefix = _Walk(stochastic, None, observe)
            prefix.graph(self._graph, self._plain_inputs(), self._memory)

    def _plain_inputs(self):
        given = len(tree.flatten(self._inputs))
        tensors = _keras_graph.inputs_of(self._graph, self._inputs)
        names = [tensor.name for tensor in self._graph.inputs]
        # A dict may have more than the model asks for.
        too_many = given > len(names) and not isinstance(self._inputs, dict)
        if len(tensors) < len(names) or too_many:
            raise ValueError(
                f"Model '{self._model.name}' takes {len(names)} input(s) "
                f"({', '.join(names)}). Pass as many arrays, in the structure "
                f"that the model is called with. Received: {given} inputs"
            )
        return [_Value(tensor, False) for tensor in tensors]

    def samples(self, num_samples):
        """The outputs, each leaf `(batch * num_samples, ...)`.

        The layers that draw must be told what by a `StochasticScope`.
        """
        fold = Fold(num_samples)
        if self._graph is None:
            folded = tree.map_structure(fold, self._inputs)
            return self._model(folded, training=False)
        walk = _Walk(self._stochastic, fold, self._observe)
        values = walk.graph(self._graph, self._plain_inputs(), self._memory)
        return _keras_graph.packed_outputs(
            self._graph,
            [v.tensor if v.is_folded else fold(v.tensor) for v in values],
        )


class _Walk:
    """One pass over a graph; without `fold`, over its prefix only."""

    def __init__(self, stochastic, fold, observe):
        self._stochastic = stochastic
        self._fold = fold
        self._observe = observe

    def graph(self, graph, inputs, memory):
        """Returns the values of the graph's outputs, None where not reached."""
        values = dict(zip(map(id, graph.inputs), inputs))
        batch_sizes = {None, graph.inputs[0].shape[0]}
        values.update(memory.values)
        nodes = [
            node
            for node in _keras_graph.nodes_of(graph)
            if id(node) not in memory.done
        ]
        # What is not used any more is let go at once: memory, above all.
        uses = collections.Counter(map(id, graph.outputs))
        uses.update(id(t) for node in nodes for t in node.input_tensors)
        for node in nodes:
            outputs = self._call(node, values, memory, batch_sizes)
            if outputs is None:
                continue
            for symbolic, value in zip(node.outputs, outputs):
                if value is not None:
                    values[id(symbolic)] = value
            if any(value is None for value in outputs):
                continue
            if self._fold is None:
                memory.done.add(id(node))
            uses.subtract(id(tensor) for tensor in node.input_tensors)
            for tensor in (*node.input_tensors, *node.outputs):
                if uses[id(tensor)] == 0:
                    values.pop(id(tensor), None)
        if self._fold is None:
            memory.values = values
        return [values.get(id(tensor)) for tensor in graph.outputs]

    def _call(self, node, values, memory, batch_sizes):
        if any(id(tensor) not in values for tensor in node.input_tensors):
            return None
        draws = id(node.operation) in self._stochastic
        nested = _keras_graph.graph_of(node.operation) if draws else None
        any_folded = any(values[id(t)].is_folded for t in node.input_tensors)
        folds = any_folded or (draws and nested is None)
        if folds and self._fold is None:
            return None
        tensors = {
            id(t): self._folded(t, values, batch_sizes)
            if folds
            else values[id(t)].tensor
            for t in node.input_tensors
        }
        args, kwargs = _keras_graph.arguments_of(node, tensors)
        if nested is not None:
            inputs = _keras_graph.inputs_of(nested, args[0])
            return self.graph(
                nested,
                [_Value(tensor, folds) for tensor in inputs],
                memory.of_call.setdefault(id(node), _Memory()),
            )
        if _keras_graph.takes_training(node.operation):
            kwargs = {**kwargs, "training": False}
        outputs = self._outputs(node, args, kwargs)
        if self._observe is not None:
            begins = folds and not any_folded
            inputs = list(tensors.values())
            self._observe(node.operation, inputs, outputs, folds, begins)
        return [_Value(output, folds) for output in outputs]

    def _outputs(self, node, args, kwargs):
        return tree.flatten(node.operation(*args, **kwargs))

    def _folded(self, symbolic, values, batch_sizes):
        value = values[id(symbolic)]
        has_batch = symbolic.shape != () and symbolic.shape[0] in batch_sizes
        # A tensor without a batch axis (a learned constant) stays as it is.
        if value.is_folded or not has_batch:
            return value.tensor
        folded = _Value(self._fold(value.tensor), True)
        values[id(symbolic)] = folded
        return folded.tensor


class _SymbolicWalk(_Walk):
    """A pass that makes nothing: a call gives the graph's symbolic tensors."""

    def _outputs(self, node, args, kwargs):
        return list(node.outputs)


def observe_shapes(graph, stochastic, observe):
    """Tells of each call of a graph with the tensors that Keras planned for it.

    Args:
        graph: A functional graph.
        stochastic, observe: As in `FoldedModel`.
    """
    walk = _SymbolicWalk(stochastic, lambda tensor: tensor, observe)
    inputs = [_Value(tensor, False) for tensor in graph.inputs]
    walk.graph(graph, inputs, _Memory())
