"""The graph of a model and the graphs inside it, each with its calls."""

import collections
import dataclasses
import functools
from collections.abc import Iterator

import keras

from kerasdrop._structure import keras_graph
from kerasdrop._types import Found
from kerasdrop._types import Given
from kerasdrop._types import Tensor


@dataclasses.dataclass(frozen=True)
class OpenGraph:
    """One graph and its place in the model.

    Attributes:
        owners: Tuple of models, from the whole model down to the one whose
            graph this is; each is called in the graph of the one before.
        path: String, the path of that model in the whole one; "" for the
            whole model itself.
    """

    owners: tuple[keras.Model, ...]
    path: str

    @property
    def owner(self) -> keras.Model:
        return self.owners[-1]

    @property
    def graph(self) -> Given:
        return keras_graph.graph_of(self.owner)

    @functools.cached_property
    def nodes(self) -> list[Given]:
        """The calls, each after the calls that make its inputs."""
        return list(keras_graph.nodes_of(self.graph))

    @functools.cached_property
    def _made_by(self) -> dict[int, Given]:
        return {id(x): node for node in self.nodes for x in node.outputs}

    @functools.cached_property
    def _used_by(self) -> dict[int, list[Given]]:
        found = collections.defaultdict(list)
        for node in self.nodes:
            for tensor in distinct(node.input_tensors):
                found[id(tensor)].append(node)
        return found

    def maker(self, tensor: Tensor) -> Given:
        """The call that makes a tensor; None for an input of the graph."""
        return self._made_by.get(id(tensor))

    def users(self, tensor: Tensor) -> tuple[Given, ...]:
        """The calls that take a tensor; None among them for an output."""
        is_output = any(tensor is output for output in self.graph.outputs)
        users = self._used_by.get(id(tensor), [])
        return (*users, *((None,) if is_output else ()))

    @functools.cached_property
    def cuts(self) -> list[Tensor]:
        """The tensors on every path to the outputs, in order.

        Only paths along floating-point tensors count, not those of masks.
        """
        paths: dict[int, int] = collections.Counter()
        made = [x for node in self.nodes for x in node.outputs]
        tensors = list(filter(is_float, [*self.graph.inputs, *made]))
        for tensor in tensors:
            before = self._floats_before(tensor)
            paths[id(tensor)] = sum(paths[id(x)] for x in before) or 1
        outputs = list(filter(is_float, self.graph.outputs))
        ways: dict[int, int] = collections.Counter(map(id, outputs))
        for tensor in reversed(tensors):
            for x in self._floats_before(tensor):
                ways[id(x)] += ways[id(tensor)]
        total = sum(paths[id(x)] for x in outputs)
        return [x for x in tensors if paths[id(x)] * ways[id(x)] == total]

    def _floats_before(self, tensor: Tensor) -> list[Tensor]:
        node = self.maker(tensor)
        return (
            [] if node is None else list(filter(is_float, node.input_tensors))
        )

    def above(self, tensor: Tensor, end: Tensor = None) -> list[Given]:
        """The calls that a tensor depends on, back to another tensor."""
        found = {}
        waiting = [tensor]
        while waiting:
            one = waiting.pop()
            node = self.maker(one)
            if one is end or node is None or id(node) in found:
                continue
            found[id(node)] = node
            waiting.extend(node.input_tensors)
        return list(found.values())

    def data_format(self, tensor: Tensor) -> str | None:
        """The position of a tensor's channels; None if no layer has it.

        The layer that makes the tensor decides, or the nearest layer before it
        with a `data_format`, as long as the number of axes stays; otherwise a
        layer that takes the tensor. Input images follow Keras' configuration.
        """
        rank = len(tensor.shape)
        behind = tensor
        while len(behind.shape) == rank:
            node = self.maker(behind)
            if node is None:
                return keras.config.image_data_format() if rank > 3 else None
            inner = self.inner(node)
            if inner is not None:
                made = [x is behind for x in node.outputs].index(True)
                return inner.data_format(inner.graph.outputs[made])
            if hasattr(node.operation, "data_format"):
                return node.operation.data_format
            if not node.input_tensors:
                break
            behind = node.input_tensors[0]
        said = (
            getattr(node.operation, "data_format", None)
            for node in self.users(tensor)
            if node is not None
        )
        return next((one for one in said if one is not None), None)

    def operation_behind(self, tensor: Tensor) -> Given:
        """The layer or operation that makes a tensor, an `InputLayer` too."""
        node = self.maker(tensor)
        if node is not None:
            return node.operation
        return next(
            layer
            for layer in self.graph.layers
            if isinstance(layer, keras.layers.InputLayer)
            and layer.output is tensor
        )

    def inner(self, node: Given) -> "OpenGraph | None":
        """The graph that a call runs, or None."""
        if keras_graph.graph_of(node.operation) is None:
            return None
        path = self.path_of(node.operation)
        return OpenGraph((*self.owners, node.operation), path)

    def path_of(self, operation: Given) -> str:
        """The path in the whole model of a layer that this graph calls."""
        prefix = f"{self.path}/" if self.path else ""
        return prefix + operation.name

    def layers(self) -> Found:
        """Pairs of a path and a layer that this graph calls, with inputs."""
        return [(self.path_of(layer), layer) for layer in self.graph.layers]


def graphs_in(model: keras.Model) -> Iterator[OpenGraph]:
    """The graph of a model and each graph that is called in it, once."""
    seen = set()

    def visit(found: OpenGraph) -> Iterator[OpenGraph]:
        if id(found.owner) in seen:
            return
        seen.add(id(found.owner))
        yield found
        for node in found.nodes:
            inner = found.inner(node)
            if inner is not None:
                yield from visit(inner)

    yield from visit(OpenGraph((model,), ""))


def distinct(tensors: list[Tensor]) -> list[Tensor]:
    """The distinct tensors of a list, in order."""
    return list({id(tensor): tensor for tensor in tensors}.values())


def is_float(tensor: Tensor) -> bool:
    """Whether a symbolic tensor is of a floating-point dtype."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return keras.backend.is_float_dtype(dtype)


def is_graph(operation: keras.layers.Layer) -> bool:
    """Whether a model does no more than its graph, and can be rebuilt."""
    if not isinstance(operation, keras.Model):
        return False
    if keras_graph.graph_of(operation) is None:
        return False
    return type(operation).__init__.__module__.startswith("keras.")
