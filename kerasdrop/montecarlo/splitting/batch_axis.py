"""Where the batch is in each tensor of a graph, before anything is run.

Each call of the graph is tried on the shapes of two batches, of 11 and of 13
rows. An axis whose size is 11 in one and 13 in the other is the batch; an axis
that has another size in each was made of the batch. No number is computed. A
layer that does not tell its output shape is believed to keep the batch where
it is, until a pass finds that it does not (see `misfits`).
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
# In place of an axis of unknown size.
_OPEN_SIZE = 64

# They take no more from a tensor than its shape.
_OF_THE_SHAPE_ALONE = {"OnesLike", "ZerosLike", "FullLike"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the batch is in a tensor.

    Attributes:
        axis: Integer, the axis that is the batch: its place i is row i. None
            if there is no such axis.
        spread: None, or an axis whose size depends on that of the batch in
            another way: it has several places for each row, say.
        pooled_by: None, or the operation that made one result of all rows,
            in words.
    """

    axis: int | None = None
    spread: int | None = None
    pooled_by: str | None = None

    @property
    def has_batch(self) -> bool:
        return self.axis is not None or self.spread is not None


ROWS = Layout(axis=0)


class Layouts:
    """The layouts of a graph's tensors in one call of it.

    Attributes:
        of: Dict of a `Layout` by the id of a symbolic tensor.
        inside: Dict of the `Layouts` of the graphs called, by the id of a
            node.
        names: Dict of a node's operation in words, by the id of the node.
        made_by: Dict of the same by the id of a symbolic tensor.
        believed: Ids of the nodes whose layers did not tell.
        tried: Dict of what a symbolic tensor is for a batch of 11 rows, as a
            `keras.KerasTensor`, by its id; None for an input that is None.
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
        shapes: The shapes of its flat inputs without the axis of the batch;
            None for an input that is None.
        trusts: Whether a layer that does not tell its output shape is
            believed to keep the batch where it is. Else it is tried, too.

    Returns:
        `Layouts`.

    Raises:
        ValueError: If rows see each other, as far as shapes and arguments
            tell, or if an output has no axis 0 that is the batch.
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
    """A tensor as the two batches have it."""

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
    """One try of a graph's calls, and of those inside."""

    def __init__(
        self, model: keras.Model, fixed_size: Given, trusts: bool
    ) -> None:
        self._model = model
        self._fixed_size = fixed_size
        self._trusts = trusts

    def graph(
        self, graph: keras.Model, inputs: list[Given], path: str
    ) -> tuple[Layouts, list[Given]]:
        """Returns the `Layouts` of a call, and what its outputs are."""
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
        """The outputs of a graph that is called; None if it is none."""
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
                with contextlib.suppress(Exception):  # of a user's layer: any
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
            # What the layer says itself comes second to a trial of it.
            trial = keras.Operation.compute_output_spec
            yield functools.partial(trial, operation)
        yield operation.compute_output_spec

    def _is_asked(self, node: Given, given: list[_Tried]) -> bool:
        """Whether to ask an operation for the shapes of its outputs."""
        if not self._trusts or operations.tells_its_shape(node.operation):
            return True
        # Else a layer is called, which takes time and may leave traces.
        return operations.has_moved_an_axis(node) or any(
            tensor.layout not in (ROWS, Layout()) for tensor in given
        )

    def _believed(
        self, shape: Given, stays: Layout, given: list[_Tried]
    ) -> tuple[Shape, Shape]:
        """The shapes of an output, as Keras planned it for any batch."""
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
        # A layer of a user may return what it learned, or positions.
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
        # Of another rank, the axis may be one of the output (`expand_dims`).
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
    """An input as a graph takes it: with a last axis of size 1, or without."""
    shapes, rank = tried.shapes, len(symbolic.shape)
    if len(shapes[0]) == rank + 1:
        shapes = tuple(shape[:-1] for shape in shapes)
    elif len(shapes[0]) == rank - 1:
        shapes = tuple((*shape, 1) for shape in shapes)
    return _Tried(shapes, symbolic.dtype, tried.layout)
