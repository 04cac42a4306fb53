"""Finds the batch axis of each tensor of a graph before anything runs.

Each call of the graph is tried on the shapes of two batches, of 11 and of 13
rows. An axis whose size is 11 in one and 13 in the other is the batch. An axis
with any other two different sizes was computed from the batch. Only shapes are
computed. A layer that does not tell its output shape is assumed to leave the
batch where it is, until a pass finds that it does not (see `misfits`).
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import keras
from keras import tree

from kerasdrop import _refusals
from kerasdrop._structure import keras_graph
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.masks import scopes
from kerasdrop.montecarlo.splitting import operations

SIZES = (11, 13)
# Stands for an axis of unknown size.
_OPEN_SIZE = 64

# These read only the shape of a tensor.
_OF_THE_SHAPE_ALONE = {"OnesLike", "ZerosLike", "FullLike"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the batch is in a tensor.

    Attributes:
        axis: Integer, the axis that is the batch: its entry i belongs to row i.
            None if there is no such axis.
        spread: None, or an axis whose size depends on the batch in another way,
            such as an axis with several entries for each row.
        pooled_by: None, or a description of the operation that combined all
            rows into one result.
    """

    axis: int | None = None
    spread: int | None = None
    pooled_by: str | None = None

    @property
    def has_batch(self) -> bool:
        return self.axis is not None or self.spread is not None


ROWS = Layout(axis=0)


class Layouts:
    """The layouts of a graph's tensors in one call of the graph.

    Attributes:
        of: Dict from the id of a symbolic tensor to its `Layout`.
        inside: Dict from the id of a node to the `Layouts` of the graph that it
            calls.
        names: Dict from the id of a node to a description of its operation.
        made_by: Dict from the id of a symbolic tensor to a description of the
            operation that made it.
        believed: Ids of the nodes whose layers did not tell their output
            shapes.
        tried: Dict from the id of a symbolic tensor to the `keras.KerasTensor`
            that it is for a batch of 11 rows; None for an input that is None.
    """

    def __init__(self) -> None:
        self.of: dict[Given, Given] = {}
        self.inside: dict[Given, Given] = {}
        self.names: dict[Given, Given] = {}
        self.made_by: dict[Given, Given] = {}
        self.believed: set[Given] = set()
        self.tried: dict[Given, Given] = {}


def layouts(
    model: keras.Model, shapes: list[Shape], trusts: bool = True
) -> Layouts:
    """Finds where the batch is in each tensor of a model's graph.

    Args:
        model: A model with a graph.
        shapes: The shapes of its flat inputs without the batch axis; None for
            an input that is None.
        trusts: Whether to assume that a layer that does not tell its output
            shape leaves the batch where it is. Otherwise such a layer is tried,
            too.

    Returns:
        `Layouts`.

    Raises:
        ValueError: If shapes and arguments show that rows see each other, or if
            axis 0 of an output is not the batch.
    """
    graph = keras_graph.graph_of(model)
    inputs = [
        None if shape is None else _input(symbolic, shape)
        for symbolic, shape in zip(graph.inputs, shapes)
    ]
    fixed_size = graph.inputs[0].shape[0] if graph.inputs[0].shape else None
    attempt = _Attempt(model, fixed_size, trusts)
    with scopes.TrialScope():
        found, outputs = attempt.graph(graph, inputs, "")
    for symbolic, output in zip(graph.outputs, outputs):
        if output is None or output.layout == ROWS:
            continue
        words = output.layout.pooled_by or found.made_by[id(symbolic)]
        raise _refusals.side_by_side(
            model,
            f"the output of {words} has the shape {output}, whose axis 0 is "
            "not the batch",
        )
    return found


def _input(symbolic: Tensor, shape: Shape) -> "_Tried":
    shape = tuple(_OPEN_SIZE if size is None else size for size in shape)
    shapes = tuple((size, *shape) for size in SIZES)
    return _Tried(shapes, symbolic.dtype, ROWS)


@dataclasses.dataclass(frozen=True)
class _Tried:
    """A tensor in each of the two batches."""

    shapes: tuple[Given, ...]
    dtype: str
    layout: Layout

    def __getitem__(self, number: int) -> Tensor:
        return keras.KerasTensor(self.shapes[number], self.dtype)

    def __str__(self) -> str:
        sizes = [_in_words(*pair) for pair in zip(*self.shapes)]
        return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"


def _in_words(one: int, other: int) -> str:
    if one == other:
        return str(one)
    factor = (other - one) // (SIZES[1] - SIZES[0])
    rest = one - factor * SIZES[0]
    times = "batch" if factor == 1 else f"{factor} * batch"
    return f"{times} {'+-'[rest < 0]} {abs(rest)}" if rest else times


class _Attempt:
    """One trial of the calls of a graph and of its inner graphs."""

    def __init__(
        self, model: keras.Model, fixed_size: Given, trusts: bool
    ) -> None:
        self._model = model
        self._fixed_size = fixed_size
        self._trusts = trusts

    def graph(
        self, graph: keras.Model, inputs: list[Given], path: str
    ) -> tuple[Layouts, list[Given]]:
        """Returns the `Layouts` of a call, and its outputs."""
        found = Layouts()
        tried = dict(zip(map(id, graph.inputs), inputs))
        for node in keras_graph.nodes_of(graph):
            if any(id(tensor) not in tried for tensor in node.input_tensors):
                continue
            found.names[id(node)] = words = operations.words(
                node.operation, path
            )
            given = [tried[id(tensor)] for tensor in node.input_tensors]
            given = [tensor for tensor in given if tensor is not None]
            outputs = self._inside(node, tried, path, found)
            if outputs is None:
                outputs = self._outputs(node, tried, given, words)
                if self._trusts and not operations.tells_its_shape(
                    node.operation
                ):
                    found.believed.add(id(node))
            tried.update(zip(map(id, node.outputs), outputs))
            found.made_by.update((id(t), words) for t in node.outputs)
        for key, one in tried.items():
            found.of[key] = Layout() if one is None else one.layout
            found.tried[key] = one and one[0]
        return found, [tried.get(id(tensor)) for tensor in graph.outputs]

    def _inside(
        self, node: Given, tried: dict[int, _Tried], path: str, found: Layouts
    ) -> list[_Tried] | None:
        """The outputs if a graph is called; else None."""
        graph = keras_graph.graph_of(node.operation)
        if graph is None:
            return None
        args, kwargs = keras_graph.arguments_of(node, tried)
        inputs = tree.flatten(args[0] if args else kwargs["inputs"])
        if len(inputs) != len(graph.inputs):
            return None
        inputs = [
            None if given is None else _fitted(given, symbolic)
            for given, symbolic in zip(inputs, graph.inputs)
        ]
        path = f"{path}{node.operation.name}/"
        found.inside[id(node)], outputs = self.graph(graph, inputs, path)
        return outputs

    def _outputs(
        self,
        node: Given,
        tried: dict[int, _Tried],
        given: list[_Tried],
        words: str,
    ) -> list[_Tried]:
        tensors = self._shapes(node, tried, given)
        outputs = []
        for symbolic, shapes in zip(node.outputs, tensors):
            layout = self._layout(node.operation, given, shapes, words)
            output = _Tried(shapes, symbolic.dtype, layout)
            self._check(node.operation, given, output, words)
            outputs.append(output)
        return outputs

    def _shapes(
        self, node: Given, tried: dict[int, _Tried], given: list[_Tried]
    ) -> list[tuple[Shape, Shape]]:
        """The shapes of each output, a pair for the two batches."""
        if self._is_asked(node, given):
            for spec in self._ways_to_ask(node.operation):
                with contextlib.suppress(Exception):  # a user's may raise any
                    return operations.shapes_by(spec, node, tried)
        first = given[0].layout if given else Layout()
        stays = first if first.has_batch else ROWS
        return [
            self._believed(tensor.shape, stays, given)
            for tensor in node.outputs
        ]

    def _ways_to_ask(self, operation: keras.Operation) -> Iterator[Given]:
        is_layer = isinstance(operation, keras.layers.Layer)
        if (
            is_layer
            and not self._trusts
            and not operations.is_of_keras(operation)
        ):
            # A trial of the layer is better than what the layer tells.
            trial = keras.Operation.compute_output_spec
            yield functools.partial(trial, operation)
        yield operation.compute_output_spec

    def _is_asked(self, node: Given, given: list[_Tried]) -> bool:
        """Whether to ask an operation for the shapes of its outputs."""
        if not self._trusts or operations.tells_its_shape(node.operation):
            return True
        # Otherwise the layer is called, which takes time and may change its
        # state.
        return operations.has_moved_an_axis(node) or any(
            tensor.layout not in (ROWS, Layout()) for tensor in given
        )

    def _believed(
        self, shape: Given, stays: Layout, given: list[_Tried]
    ) -> tuple[Shape, Shape]:
        """The shapes of an output, as Keras inferred them for any batch."""
        if not shape or shape[0] not in (None, self._fixed_size):
            shape = [_OPEN_SIZE if size is None else size for size in shape]
            return tuple(shape), tuple(shape)
        rest = tuple(_OPEN_SIZE if size is None else size for size in shape[1:])
        if stays.spread == 0:
            one, other = given[0].shapes
            return (one[0], *rest), (other[0], *rest)
        return (SIZES[0], *rest), (SIZES[1], *rest)

    def _layout(
        self,
        operation: keras.Operation,
        given: list[_Tried],
        shapes: tuple[Shape, Shape],
        words: str,
    ) -> Layout:
        axes = [i for i, pair in enumerate(zip(*shapes)) if len({*pair}) > 1]
        if len(axes) > 1:
            raise _refusals.side_by_side(
                self._model,
                f"the output of {words} has the shape "
                f"{_Tried(shapes, '', ROWS)}, with the batch in two axes, so "
                "that rows see each other",
            )
        if axes:
            (axis,) = axes
            is_batch = tuple(shape[axis] for shape in shapes) == SIZES
            return Layout(axis) if is_batch else Layout(spread=axis)
        if type(operation).__name__ in _OF_THE_SHAPE_ALONE:
            return Layout()
        for tensor in given:
            if tensor.layout.pooled_by is not None:
                return tensor.layout
        # A user's layer may return learned values or positions.
        pools = not isinstance(operation, keras.layers.Layer) or (
            operations.is_of_keras(operation)
        )
        has_batch = any(tensor.layout.has_batch for tensor in given)
        return Layout(pooled_by=words if pools and has_batch else None)

    def _check(
        self,
        operation: keras.Operation,
        given: list[_Tried],
        output: _Tried,
        words: str,
    ) -> None:
        for tensor in given:
            by = tensor.layout.pooled_by
            if by is not None and output.layout.has_batch:
                raise _refusals.side_by_side(
                    self._model,
                    f"{by} makes one result of all rows, of the shape "
                    f"{tensor}, which {words} gives to each row, so that rows "
                    "see each other",
                )
        if not given or not output.layout.has_batch:
            return
        one, other = given[0], output
        along = one.layout.axis, one.layout.spread
        rank = len(one.shapes[0])
        # If the rank differs, the axis may count the output's axes
        # (`expand_dims`).
        stays = rank == len(other.shapes[0]) and (
            along == (other.layout.axis, other.layout.spread)
        )
        axis = along[1] if along[0] is None else along[0]
        if stays and axis in operations.named_axes(operation, rank):
            raise _refusals.side_by_side(
                self._model,
                f"{words} works along axis {axis} of a tensor of the shape "
                f"{one}, which is the batch, so that rows see each other",
            )


def _fitted(tried: _Tried, symbolic: Tensor) -> _Tried:
    """Adds or removes a last axis of size 1, as the graph has the input."""
    shapes, rank = tried.shapes, len(symbolic.shape)
    if len(shapes[0]) == rank + 1:
        shapes = tuple(shape[:-1] for shape in shapes)
    elif len(shapes[0]) == rank - 1:
        shapes = tuple((*shape, 1) for shape in shapes)
    return _Tried(shapes, symbolic.dtype, tried.layout)
