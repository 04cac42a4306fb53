"""Runs a model's deterministic part once and the rest once per sample.

A tensor is either plain, of `batch` rows, or folded, of `batch * samples` rows
with the samples of a row side by side. The graph is walked call by call: plain
inputs make plain outputs, until a layer draws. There, and behind it, what is
still plain is folded first. `frontier` says which call is made when.

The model is not cut in two: making two models of one rewrites the history of
its inputs and breaks its `get_config`.
"""

import contextlib

import keras
from keras import tree

from kerasdrop._structure import keras_graph
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.splitting import frontier
from kerasdrop.montecarlo.splitting import misfits
from kerasdrop.montecarlo.splitting import walking


class FoldedModel:
    """A model on given inputs, of which any number of samples can be asked.

    Args:
        model: A built model.
        inputs: Its inputs, tensors `(batch, ...)`.
        stochastic: Ids of all layers that draw, or hold a layer that does.
        observe: None, or what is told of each call of the graph: function of
            (operation, inputs, outputs, whether they are folded, whether
            what was folded begins here), the tensors as flat lists.

    Raises:
        ValueError: If the inputs are not those of the model, or if samples
            cannot be run side by side.
    """

    def __init__(
        self,
        model: keras.Model,
        inputs: Tensor,
        stochastic: set[int],
        observe: Given = None,
    ) -> None:
        self._model = model
        self._inputs = inputs
        self._stochastic = stochastic
        self._observe = observe
        self._graph = keras_graph.graph_of(model)
        if self._graph is not None:
            _check_number(model, self._graph, inputs)
            misfits.tried_again(model, self._run_prefix)

    def _run_prefix(self, failures: misfits.Failures) -> None:
        self._memory = walking.Memory()
        walk = self._walk(None, failures)

        def run(
            inputs: list[Tensor], masks: Given, prepared: Function
        ) -> list[walking._NotYet]:
            with failures.kept():
                self._part = _part(self._model, inputs, self._stochastic)
            self._memory.enter(self._graph, inputs, masks, prepared)
            return walk.once(self._part, self._memory)

        keras_graph.entrance(self._model, run)(self._inputs, training=False)

    def samples(
        self, num_samples: int, scope: Function = contextlib.nullcontext
    ) -> Given:
        """The outputs, each leaf `(batch * num_samples, ...)`.

        Args:
            num_samples: Integer.
            scope: Function that returns a new `StochasticScope`, which tells
                the layers what to draw. By default one is there already.
        """
        if self._graph is None:
            with scope():
                fold = walking.Fold(num_samples)
                return misfits.called(
                    self._model, self._inputs, fold, num_samples
                )

        def run(failures: misfits.Failures) -> Given:
            walk = self._walk(num_samples, failures)
            with scope():
                return walk.rest(self._part, self._memory)

        flat = misfits.tried_again(self._model, run, self._run_prefix)
        return keras_graph.packed_outputs(self._graph, flat)

    def _walk(
        self, num_samples: int | None, failures: misfits.Failures
    ) -> walking.Walk:
        rows = misfits.number_of_rows(self._inputs)
        return walking.Walk(
            self._model, rows, num_samples, self._observe, failures
        )


def _part(
    model: keras.Model, inputs: list[Given], stochastic: set[int]
) -> frontier.Part:
    """What is to be done about the calls of a model on flat inputs."""
    shapes: list[Given] = [
        None if x is None else tuple(x.shape[1:]) for x in inputs
    ]
    return frontier.of(model, shapes, stochastic)


def _check_number(
    model: keras.Model, graph: keras.Model, inputs: Tensor
) -> None:
    given = len(tree.flatten(inputs))
    names = [tensor.name for tensor in graph.inputs]
    # A dict may have more than the model asks for.
    too_many = given > len(names) and not isinstance(inputs, dict)
    if given < len(names) or too_many:
        raise ValueError(
            f"Model '{model.name}' takes {len(names)} input(s) "
            f"({', '.join(names)}). Pass as many arrays, in the structure "
            f"that the model is called with. Received: {given} inputs"
        )


def observe_shapes(
    model: keras.Model,
    stochastic: set[int],
    observe: Given,
    inputs: Structure = None,
    as_tried: bool = False,
) -> None:
    """Tells of each call of a graph with tensors that have shapes alone.

    Args:
        model: A model with a graph.
        stochastic, observe: As in `FoldedModel`.
        inputs: The model's inputs, arrays of any number of rows, by which to
            tell where the batch is. By default they may be of any size.
        as_tried: Whether each tensor has the shape that it has for a batch of
            11 rows, instead of that which Keras planned for any batch.

    Raises:
        ValueError: As `FoldedModel` does.
    """
    graph = keras_graph.graph_of(model)
    flat = graph.inputs
    if inputs is not None:
        _check_number(model, graph, inputs)
        one = tree.map_structure(lambda x: x if x is None else x[:1], inputs)
        flat = keras_graph.inputs_of(graph, one)
    part = _part(model, flat, stochastic)
    _observe_part(part, observe, {}, as_tried)


def _observe_part(
    part: frontier.Part,
    observe: Given,
    tensors: dict[int, Tensor],
    as_tried: bool,
) -> None:
    """Tells of the calls of a graph; `tensors` stand for its symbolic ones."""

    def add(symbolic: list[Tensor]) -> None:
        for one in symbolic:
            found = part.layouts.tried[id(one)] if as_tried else one
            tensors.setdefault(id(one), found)

    add(part.graph.inputs)
    for step in part.steps:
        node = step.node
        if step.inside is not None:
            graph = step.inside.graph
            inputs, _ = keras_graph.inputs_and_mask(node, tensors)
            inside = dict(zip(map(id, graph.inputs), tree.flatten(inputs)))
            _observe_part(step.inside, observe, inside, as_tried)
            outputs = [inside[id(tensor)] for tensor in graph.outputs]
            tensors.update(zip(map(id, node.outputs), outputs))
            continue
        add(node.outputs)
        inputs = [tensors[id(tensor)] for tensor in node.input_tensors]
        outputs = [tensors[id(tensor)] for tensor in node.outputs]
        if step.is_once:
            observe(node.operation, inputs, outputs, False, False)
        if step.is_repeated:
            observe(node.operation, inputs, outputs, True, step.begins)
