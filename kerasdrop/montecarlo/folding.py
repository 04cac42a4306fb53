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
from keras import ops
from keras import tree

from kerasdrop import _keras_graph
from kerasdrop.montecarlo import frontier
from kerasdrop.montecarlo import misfits


class Fold(keras.layers.Layer):
    """Repeats each row `num_samples` times, its padding mask included.

    A layer only because Keras hands masks from layer to layer.
    """

    def __init__(self, num_samples, axis=0):
        super().__init__(autocast=False, name="fold")
        self.num_samples = num_samples
        self.axis = axis
        self.supports_masking = True
        self.built = True

    def call(self, inputs):
        return ops.repeat(inputs, self.num_samples, axis=self.axis)

    def compute_mask(self, inputs, previous_mask):
        return repeated_mask(previous_mask, self.num_samples, self.axis)


def repeated_mask(mask, num_samples, axis):
    """A mask for folded inputs; `axis` is the batch, None for none."""
    if mask is None or axis is None or axis >= len(mask.shape):
        return mask
    return ops.repeat(mask, num_samples, axis=axis)


class _Inside(keras.layers.Layer):
    """Runs what is left of a graph, as inside the call of its layer.

    Keras then casts variables, and hands the mask of the inputs on to outputs
    without one, as it does around the whole call.
    """

    def __init__(self, layer, function):
        super().__init__(
            dtype=layer.dtype_policy, autocast=layer.autocast, name="rest"
        )
        self.supports_masking = layer.supports_masking
        self._of_layer = layer.compute_mask
        self._function = function
        self.built = True

    def call(self, inputs, mask=None):
        return self._function()

    def compute_mask(self, inputs, previous_mask):
        return self._of_layer(inputs, previous_mask)


class _NotYet:
    """Stands for an output of which there will be one for each sample."""


class _Memory:
    """What the prefix of one call of a graph leaves to the rest.

    Attributes:
        values: The plain results that are still needed, by symbolic tensor.
        masks: The padding masks of its inputs, in their structure, or None.
        prepared: Function that makes of an operation what is to be called.
        of_call: The memories of the graphs called inside, by node.
    """

    def __init__(self):
        self.values = {}
        self.masks = None
        self.prepared = None
        self.of_call = {}

    def enter(self, graph, inputs, masks, prepared):
        """Notes what a graph is called with."""
        self.values = dict(zip(map(id, graph.inputs), inputs))
        if any(mask is not None for mask in tree.flatten(masks)):
            self.masks = masks
        self.prepared = prepared


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

    def __init__(self, model, inputs, stochastic, observe=None):
        self._model = model
        self._inputs = inputs
        self._stochastic = stochastic
        self._observe = observe
        self._graph = _keras_graph.graph_of(model)
        if self._graph is not None:
            _check_number(model, self._graph, inputs)
            misfits.tried_again(model, self._run_prefix)

    def _run_prefix(self, failures):
        self._memory = _Memory()
        walk = self._walk(None, failures)

        def run(inputs, masks, prepared):
            with failures.kept():
                self._part = _part(self._model, inputs, self._stochastic)
            self._memory.enter(self._graph, inputs, masks, prepared)
            return walk.once(self._part, self._memory)

        _keras_graph.entrance(self._model, run)(self._inputs, training=False)

    def samples(self, num_samples, scope=contextlib.nullcontext):
        """The outputs, each leaf `(batch * num_samples, ...)`.

        Args:
            num_samples: Integer.
            scope: Function that returns a new `StochasticScope`, which tells
                the layers what to draw. By default one is there already.
        """
        if self._graph is None:
            with scope():
                fold = Fold(num_samples)
                return misfits.called(
                    self._model, self._inputs, fold, num_samples
                )

        def run(failures):
            walk = self._walk(num_samples, failures)
            with scope():
                return walk.rest(self._part, self._memory)

        flat = misfits.tried_again(self._model, run, self._run_prefix)
        return _keras_graph.packed_outputs(self._graph, flat)

    def _walk(self, num_samples, failures):
        rows = misfits.number_of_rows(self._inputs)
        return _Walk(self._model, rows, num_samples, self._observe, failures)


def _part(model, inputs, stochastic):
    """What is to be done about the calls of a model on flat inputs."""
    shapes = [None if x is None else tuple(x.shape[1:]) for x in inputs]
    return frontier.of(model, shapes, stochastic)


def _check_number(model, graph, inputs):
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


class _Walk:
    """One pass over a graph: over its prefix, or over the rest for samples.

    Args:
        model: The model whose graph it is.
        num_rows: The size of the batch, or None if it is not known.
        num_samples: How often a row is repeated; None in the prefix.
        observe: As in `FoldedModel`.
        failures: `misfits.Failures`.
    """

    def __init__(self, model, num_rows, num_samples, observe, failures):
        self._model = model
        self._num_samples = num_samples
        self._num_rows = num_rows and num_rows * (num_samples or 1)
        self._observe = observe
        self._failures = failures
        self._casts = False

    def once(self, part, memory):
        """Makes the calls of the prefix; returns outputs, or `_NotYet`s."""
        values = memory.values
        for step in part.steps:
            if step.is_split:
                outputs = self._entered(step, memory)
            elif step.is_once:
                outputs = self._made(step, values, memory)
            else:
                continue
            for symbolic, output in zip(step.node.outputs, outputs):
                if not isinstance(output, _NotYet):
                    values[id(symbolic)] = output
            for key in step.done_once:
                values.pop(key, None)
        return [values.get(id(t), _NotYet()) for t in part.graph.outputs]

    def _entered(self, step, memory):
        """Enters a graph with plain tensors, as far as its prefix goes."""
        inside = memory.of_call[id(step.node)] = _Memory()

        def run(inputs, masks, prepared):
            inside.enter(step.inside.graph, inputs, masks, prepared)
            return self.once(step.inside, inside)

        return self._called(step, memory.values, memory, run)

    def _called(self, step, values, memory, run):
        args, kwargs = _keras_graph.arguments_of(step.node, values)
        entrance = _keras_graph.entrance(step.node.operation, run)
        return tree.flatten(memory.prepared(entrance)(*args, **kwargs))

    def rest(self, part, memory):
        """The flat outputs of the model, folded."""
        folded = {}

        def run():
            self._repeat(part, memory, folded)
            return [
                self._folded(part.layouts.of[id(t)], id(t), memory, folded)
                for t in part.graph.outputs
            ]

        return self._as_inside(self._model, _Memory(), (), run)

    def _left(self, step, memory):
        """What a graph that was entered returns; `_NotYet` where it has."""
        inside = memory.of_call[id(step.node)]

        def run():
            folded = {}
            self._repeat(step.inside, inside, folded)
            return [
                folded[id(t)] if id(t) in step.inside.drawn else _NotYet()
                for t in step.inside.graph.outputs
            ]

        return self._as_inside(step.node.operation, inside, step.mask_axes, run)

    def _as_inside(self, layer, memory, mask_axes, run):
        """`run()`, as if inside the call of a layer that was entered."""
        casts = self._casts or layer.compute_dtype != layer.variable_dtype
        masks = memory.masks if layer.supports_masking else None
        if masks is None and not casts:
            return run()
        if masks is not None:
            flat = map(self._repeated_mask, tree.flatten(masks), mask_axes)
            masks = tree.pack_sequence_as(masks, list(flat))
        before, self._casts = self._casts, casts
        try:
            outputs = _Inside(layer, run)(ops.zeros(()), mask=masks)
        finally:
            self._casts = before
        return tree.flatten(outputs)

    def _repeated_mask(self, mask, axis):
        return repeated_mask(mask, self._num_samples, axis)

    def _repeat(self, part, memory, folded):
        """Makes the calls behind the prefix, and adds what they return."""
        for step in part.steps:
            if step.is_split:
                outputs = self._left(step, memory)
            elif step.is_repeated:
                tensors = {
                    id(t): self._folded(
                        step.layouts[id(t)], id(t), memory, folded
                    )
                    for t in step.node.input_tensors
                }
                if step.inside is None:
                    outputs = self._made(step, tensors, memory)
                else:
                    outputs = self._entered_folded(step, tensors, memory)
            else:
                continue
            for symbolic, output in zip(step.node.outputs, outputs):
                if not isinstance(output, _NotYet):
                    folded[id(symbolic)] = output
            for key in step.done_repeated:
                folded.pop(key, None)

    def _entered_folded(self, step, tensors, memory):
        def run(inputs, masks, prepared):
            inside = _Memory()
            inside.enter(step.inside.graph, inputs, masks, prepared)
            folded, inside.values = inside.values, {}
            self._repeat(step.inside, inside, folded)
            return [folded[id(t)] for t in step.inside.graph.outputs]

        return self._called(step, tensors, memory, run)

    def _folded(self, layout, key, memory, folded):
        if key not in folded:
            tensor = memory.values[key]
            # What has no batch (a learned constant) stays as it is.
            if tensor is None or layout.axis is None:
                return tensor
            folded[key] = Fold(self._num_samples, layout.axis)(tensor)
        return folded[key]

    def _made(self, step, tensors, memory):
        """The flat outputs of a call on these tensors."""
        operation = step.node.operation
        call = memory.prepared(operation)

        def again(tensors):
            args, kwargs = _keras_graph.arguments_of(step.node, tensors)
            return tree.flatten(call(*args, **kwargs))

        try:
            outputs = again(tensors)
        except Exception as error:
            if self._num_samples is None:
                raise
            with self._failures.kept():
                misfits.explain(
                    self._model,
                    step,
                    error,
                    lambda: again(self._of_one_sample(step, tensors)),
                )
            raise
        misfits.check_rows(
            self._model, step, outputs, self._num_rows, self._failures
        )
        if self._observe is not None:
            self._observe(
                operation,
                [tensors[id(t)] for t in step.node.input_tensors],
                outputs,
                self._num_samples is not None,
                step.begins,
            )
        return outputs

    def _of_one_sample(self, step, tensors):
        """Of folded tensors, the rows of the first sample alone."""
        one = {}
        for key, tensor in tensors.items():
            axis = step.layouts[key].axis
            if axis is not None and tensor is not None:
                rows = slice(None, None, self._num_samples)
                tensor = tensor[(slice(None),) * axis + (rows,)]
            one[key] = tensor
        return one


def observe_shapes(model, stochastic, observe, inputs=None, as_tried=False):
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
    graph = _keras_graph.graph_of(model)
    flat = graph.inputs
    if inputs is not None:
        _check_number(model, graph, inputs)
        one = tree.map_structure(lambda x: x if x is None else x[:1], inputs)
        flat = _keras_graph.inputs_of(graph, one)
    part = _part(model, flat, stochastic)
    _observe_part(part, observe, {}, as_tried)


def _observe_part(part, observe, tensors, as_tried):
    """Tells of the calls of a graph; `tensors` stand for its symbolic ones."""

    def add(symbolic):
        for one in symbolic:
            found = part.layouts.tried[id(one)] if as_tried else one
            tensors.setdefault(id(one), found)

    add(part.graph.inputs)
    for step in part.steps:
        node = step.node
        if step.inside is not None:
            graph = step.inside.graph
            inputs, _ = _keras_graph.inputs_and_mask(node, tensors)
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
