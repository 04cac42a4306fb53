"""Runs a model's deterministic part once and the rest once per sample.

A tensor is either plain, with `batch` rows, or folded, with `batch * samples`
rows in which the samples of a row are neighbours. The graph is walked call by
call: plain inputs give plain outputs until a layer draws. From there on, inputs
that are still plain are folded first. `frontier` decides which call runs when.

The model is not cut in two, because making two models from one rewrites the
history of its inputs and breaks its `get_config`.
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
    """A model on given inputs that returns any number of samples.

    Args:
        model: A built model.
        inputs: Its inputs, tensors `(batch, ...)`.
        stochastic: Ids of all layers that draw or contain a layer that does.
        observe: None, or a function that each call of the graph is reported to.
            Its arguments are the operation, the inputs and the outputs as flat
            lists of tensors, whether these are folded, and whether folding
            begins at this call.

    Raises:
        ValueError: If the inputs do not fit the model, or if samples cannot run
            side by side.
    """

    def __init__(
        self,
        model: keras.Model,
        inputs: Structure,
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
        ) -> list[Given]:
            with failures.kept():
                self._part = _part(self._model, inputs, self._stochastic)
            self._memory.enter(self._graph, inputs, masks, prepared)
            return walk.once(self._part, self._memory)

        keras_graph.entrance(self._model, run)(self._inputs, training=False)

    def samples(
        self, num_samples: int, scope: Function = contextlib.nullcontext
    ) -> Given:
        """Returns the outputs, each leaf `(batch * num_samples, ...)`.

        Args:
            num_samples: Integer.
            scope: Function that returns a new `StochasticScope`, which tells
                the layers what to draw. By default the caller has already
                entered one.
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
    """The `Part` of a call of a model on flat inputs."""
    shapes: list[Given] = [
        None if x is None else tuple(x.shape[1:]) for x in inputs
    ]
    return frontier.of(model, shapes, stochastic)


def _check_number(
    model: keras.Model, graph: keras.Model, inputs: Structure
) -> None:
    given = len(tree.flatten(inputs))
    names = [tensor.name for tensor in graph.inputs]
    # A dict may have more entries than the model needs.
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
    """Reports each call of a graph with tensors that have only shapes.

    Args:
        model: A model with a graph.
        stochastic, observe: As in `FoldedModel`.
        inputs: The model's inputs, arrays with any number of rows, which help
            to find the batch axis. By default inputs of any size are possible.
        as_tried: Whether each tensor has its shape for a batch of 11 rows
            instead of the shape that Keras inferred for any batch.

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
    """Reports the calls of a graph; `tensors` replace its symbolic tensors."""

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
