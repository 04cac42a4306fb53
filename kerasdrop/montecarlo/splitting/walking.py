"""Walks over a graph: over its prefix, or over the rest for some samples.

Keras does all its usual work around a call: it converts inputs, passes masks on
and casts variables.
"""

import functools

import keras
from keras import tree

from kerasdrop._backend import ops
from kerasdrop._structure import keras_graph
from kerasdrop._structure import nested
from kerasdrop._structure import padding
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.splitting import misfits


class Fold(keras.layers.Layer):
    """Repeats each row `num_samples` times, its padding mask included.

    It is a layer because Keras passes masks from layer to layer.
    """

    def __init__(self, num_samples: int, axis: int = 0) -> None:
        super().__init__(autocast=False, name="fold")
        self.num_samples = num_samples
        self.axis = axis
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Structure) -> Given:
        return ops.repeat(inputs, self.num_samples, axis=self.axis)

    def compute_mask(self, inputs: Structure, previous_mask: Given) -> Given:
        return repeated_mask(previous_mask, self.num_samples, self.axis)


def repeated_mask(mask: Tensor, num_samples: int, axis: int) -> Given:
    """A mask for folded inputs; `axis` is the batch axis, or None."""
    if mask is None or axis is None or axis >= len(mask.shape):
        return mask
    return ops.repeat(mask, num_samples, axis=axis)


class _Inside(keras.layers.Layer):
    """Runs the rest of a graph as if inside the call of its layer.

    Keras then casts variables, and passes the mask of the inputs on to outputs
    without one, as it does around the whole call.
    """

    def __init__(self, layer: keras.layers.Layer, function: Given) -> None:
        super().__init__(
            dtype=layer.dtype_policy, autocast=layer.autocast, name="rest"
        )
        self.supports_masking = layer.supports_masking
        self._of_layer = layer.compute_mask
        self._function = function
        self.built = True

    def call(self, inputs: Structure, mask: Tensor = None) -> Given:
        return self._function()

    def compute_mask(self, inputs: Structure, previous_mask: Given) -> Given:
        return self._of_layer(inputs, previous_mask)


class _NotYet:
    """Stands for an output that is computed later, once for each sample."""


class Memory:
    """What the prefix of one call of a graph leaves for the rest.

    Attributes:
        values: Dict from the id of a symbolic tensor to its plain value, if the
            rest needs it.
        masks: The padding masks of its inputs, in their structure, or None.
        prepared: Function that returns what to call in place of an operation.
        of_call: Dict from the id of a node to the `Memory` of the graph it
            calls.
    """

    def __init__(self) -> None:
        self.values: dict[Given, Given] = {}
        self.masks = None
        self.prepared: Given = None
        self.of_call: dict[Given, Given] = {}

    def enter(
        self,
        graph: keras.Model,
        inputs: list[Tensor],
        masks: Given,
        prepared: Function,
    ) -> None:
        """Stores the arguments that a graph is called with."""
        self.values = dict(zip(map(id, graph.inputs), inputs))
        if any(mask is not None for mask in tree.flatten(masks)):
            self.masks = masks
        self.prepared = prepared


class Walk:
    """One walk over a graph: over its prefix, or over the rest for samples.

    Args:
        model: The model whose graph it is.
        num_rows: The size of the batch, or None if it is unknown.
        num_samples: How often a row is repeated; None in the prefix.
        observe: As in `FoldedModel`.
        failures: `misfits.Failures`.
    """

    def __init__(
        self,
        model: keras.Model,
        num_rows: int | None,
        num_samples: Given,
        observe: Given,
        failures: misfits.Failures,
    ) -> None:
        self._model = model
        self._num_samples = num_samples
        self._num_rows = num_rows and num_rows * (num_samples or 1)
        self._observe = observe
        self._failures = failures
        self._casts = False
        # Making a layer takes longer than calling it.
        self._fold = functools.cache(functools.partial(Fold, num_samples))

    def once(self, part: Given, memory: Memory) -> list[Given]:
        """Makes the calls of the prefix; returns tensors or `_NotYet`s."""
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

    def _entered(self, step: Given, memory: Memory) -> list[Given]:
        """Enters a graph with plain tensors and runs its prefix."""
        inside = memory.of_call[id(step.node)] = Memory()

        def run(
            inputs: list[Tensor], masks: Given, prepared: Function
        ) -> list[Given]:
            inside.enter(step.inside.graph, inputs, masks, prepared)
            return self.once(step.inside, inside)

        return self._called(step, memory.values, memory, run)

    def _called(
        self,
        step: Given,
        values: dict[int, Tensor],
        memory: Memory,
        run: Function,
    ) -> list[Given]:
        args, kwargs = keras_graph.arguments_of(step.node, values)
        entrance = keras_graph.entrance(step.node.operation, run)
        return nested.flatten(memory.prepared(entrance)(*args, **kwargs))

    def rest(self, part: Given, memory: Memory) -> Given:
        """The flat outputs of the model, folded."""
        folded: dict[Given, Given] = {}

        def run() -> list[Given]:
            self._repeat(part, memory, folded)
            return [
                self._folded(part.layouts.of[id(t)], id(t), memory, folded)
                for t in part.graph.outputs
            ]

        return self._as_inside(self._model, Memory(), (), run)

    def _left(self, step: Given, memory: Memory) -> Given:
        """The outputs of an entered graph; `_NotYet` if the prefix has one."""
        inside = memory.of_call[id(step.node)]

        def run() -> list[Given]:
            folded: dict[Given, Given] = {}
            self._repeat(step.inside, inside, folded)
            return [
                folded[id(t)] if id(t) in step.inside.drawn else _NotYet()
                for t in step.inside.graph.outputs
            ]

        return self._as_inside(step.node.operation, inside, step.mask_axes, run)

    def _as_inside(
        self,
        layer: keras.layers.Layer,
        memory: Memory,
        mask_axes: Shape,
        run: Function,
    ) -> Given:
        """Returns `run()`, called as if inside the call of an entered layer."""
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
        return nested.flatten(outputs)

    def _repeated_mask(self, mask: Tensor, axis: int) -> Given:
        return repeated_mask(mask, self._num_samples, axis)

    def _repeat(
        self, part: Given, memory: Memory, folded: dict[int, Given]
    ) -> None:
        """Makes the calls after the prefix and adds their results."""
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

    def _entered_folded(
        self, step: Given, tensors: dict[int, Tensor], memory: Memory
    ) -> list[Tensor]:
        def run(
            inputs: list[Tensor], masks: Given, prepared: Function
        ) -> list[Given]:
            inside = Memory()
            inside.enter(step.inside.graph, inputs, masks, prepared)
            folded, inside.values = inside.values, {}
            self._repeat(step.inside, inside, folded)
            return [folded[id(t)] for t in step.inside.graph.outputs]

        return self._called(step, tensors, memory, run)

    def _folded(
        self, layout: Given, key: int, memory: Memory, folded: dict[int, Given]
    ) -> Given:
        if key not in folded:
            tensor = memory.values[key]
            # A tensor without a batch axis, such as a learned constant, stays.
            if tensor is None or layout.axis is None:
                return tensor
            if padding.may_have_mask(tensor):
                folded[key] = self._fold(layout.axis)(tensor)
            else:
                folded[key] = ops.repeat(tensor, self._num_samples, layout.axis)
        return folded[key]

    def _made(
        self, step: Given, tensors: dict[int, Tensor], memory: Memory
    ) -> list[Tensor]:
        """The flat outputs of a call on these tensors."""
        operation = step.node.operation
        call = memory.prepared(operation) if step.minds_context else operation

        def again(tensors: dict[int, Tensor]) -> list[Tensor]:
            args, kwargs = keras_graph.arguments_of(step.node, tensors)
            return nested.flatten(call(*args, **kwargs))

        try:
            outputs = again(tensors)
        except Exception as error:
            if self._num_samples is None or not misfits.may_explain(error):
                raise
            with self._failures.kept():
                misfits.explain(
                    self._model,
                    step,
                    error,
                    lambda: again(self._rows_of_one_sample(step, tensors)),
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

    def _rows_of_one_sample(
        self, step: Given, tensors: dict[int, Tensor]
    ) -> dict[int, Tensor]:
        """The rows of the first sample of folded tensors."""
        one = {}
        for key, tensor in tensors.items():
            axis = step.layouts[key].axis
            if axis is not None and tensor is not None:
                rows = slice(None, None, self._num_samples)
                tensor = tensor[(slice(None),) * axis + (rows,)]
            one[key] = tensor
        return one
