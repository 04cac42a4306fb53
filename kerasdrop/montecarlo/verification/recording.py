"""Records the outputs of a model's layers and operations, call by call."""

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from typing import NamedTuple

import keras
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop._adapters import in_place
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks import scopes
from kerasdrop.montecarlo.sampling import symbolic

# If a row has more elements, evenly spaced ones are kept.
_MOST_OF_ROW = 2**13


class Call(NamedTuple):
    """One call of a layer or an operation.

    Attributes:
        path: The path of the layer or operation.
        outputs: List of its output tensors; of a large tensor only some
            elements.
        largest_input: The largest absolute value of its floating-point inputs,
            a scalar tensor; or None.
    """

    path: str
    outputs: list[Given]
    largest_input: Given


class Recorder:
    """Records the calls of the thread and the trace in which recording began.

    Args:
        paths: Dict from each layer or operation to its path.
        with_inputs: Whether to record the largest inputs, too.
    """

    def __init__(
        self, paths: dict[keras.layers.Layer, str], with_inputs: bool
    ) -> None:
        self._paths = paths
        self._with_inputs = with_inputs
        self._thread = threading.get_ident()
        self._trace = _backend.trace()
        self._calls: Given = None
        self._row_counts = ()

    @contextlib.contextmanager
    def recording(self, *row_counts: Given) -> Iterator[Given]:
        """Yields a list to which each call in the block adds a `Call`.

        Args:
            *row_counts: Sizes of axis 0 where it is the batch.
        """
        outer = self._calls, self._row_counts
        self._calls, self._row_counts = [], row_counts
        try:
            yield self._calls
        finally:
            self._calls, self._row_counts = outer

    def is_on(self) -> bool:
        return (
            self._calls is not None
            and threading.get_ident() == self._thread
            and not symbolic.is_running()
            and not isinstance(scopes.current(), scopes.TrialScope)
            and _backend.is_same_trace(self._trace)
        )

    def add(
        self,
        operation: keras.layers.Layer,
        args: tuple[Tensor, ...],
        kwargs: Config,
        outputs: Tensor,
    ) -> None:
        """Records a call if it is in this thread and trace."""
        if not self.is_on():
            return
        largest = None
        if self._with_inputs:
            largest = [
                ops.max(ops.abs(ops.cast(tensor, "float32")))
                for tensor in _dense(tree.flatten((args, kwargs)))
                if "float" in keras.backend.standardize_dtype(tensor.dtype)
            ]
            largest = functools.reduce(ops.maximum, largest, ops.zeros(()))
        outputs = self.reduced_all(outputs)
        self._calls.append(Call(self._paths[operation], outputs, largest))

    def reduced_all(self, tensors: Tensor) -> list[Tensor]:
        """A list of the tensors of a structure, each `reduced`."""
        return [
            self.reduced(tensor) for tensor in _dense(tree.flatten(tensors))
        ]

    def reduced(self, tensor: Tensor) -> Tensor:
        """Keeps some elements of each row, in float32 or float64."""
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        shape = tuple(tensor.shape)
        size = math.prod(shape[1:])
        if shape[:1] and shape[0] in self._row_counts and size > _MOST_OF_ROW:
            # The step is odd, so that no stripe with a period of a power of 2
            # is left out.
            step = (size // _MOST_OF_ROW + 1) | 1
            tensor = ops.reshape(tensor, (shape[0], size))[:, ::step]
            # A view would keep the whole tensor alive.
            tensor = ops.copy(tensor)
        elif keras.backend.backend() == "torch":
            # Later calls may change it in place, as pooling in Keras before
            # 3.15 and modules of PyTorch do.
            tensor = ops.copy(tensor)
        return tensor if dtype == "float64" else ops.cast(tensor, "float32")


@contextlib.contextmanager
def recorder(
    model: keras.Model, with_inputs: bool = False, wrap: Function | None = None
) -> Iterator[Given]:
    """Yields a `Recorder` of the calls in a model while the block lasts.

    It records layers and operations without a graph of their own, but none
    inside the loop of a recurrent layer.

    Args:
        model: A built model.
        with_inputs: Whether to record the largest inputs of each call, too.
        wrap: None, or a function of (recorder, operation, its method) that
            returns a replacement for the method.
    """
    paths = operations(model)
    made = Recorder(paths, with_inputs)

    def recorded(
        operation: keras.layers.Layer, name: str
    ) -> tuple[keras.layers.Layer, str, Function]:
        plain = getattr(operation, name)
        if wrap is not None:
            plain = wrap(made, operation, plain)

        @functools.wraps(plain)
        def call(*args: Given, **kwargs: Given) -> Tensor:
            outputs = plain(*args, **kwargs)
            made.add(operation, args, kwargs, outputs)
            return outputs

        return operation, name, call

    methods = [
        recorded(operation, name)
        for operation in paths
        for name in ("call", "quantized_call")
        if hasattr(operation, name)
    ]
    with in_place.replaced(methods):
        yield made


def operations(model: keras.Model) -> dict[keras.layers.Layer, str]:
    """Dict from each layer or operation that is recorded to its path."""
    in_loops: set[Given] = set()
    found: dict[Given, Given] = {}
    layers = [("", model), *model_tree.walk(model)]
    for path, layer in layers:
        if id(layer) in in_loops:
            continue
        if isinstance(layer, keras.layers.RNN):
            in_loops.update(map(id, keras_graph.all_layers(layer.cell)))
        graph = keras_graph.graph_of(layer)
        if graph is None:
            found.setdefault(layer, path or layer.name)
            continue
        for node in keras_graph.nodes_of(graph):
            if not isinstance(node.operation, keras.layers.Layer):
                prefix = f"{path}/" if path else ""
                found.setdefault(node.operation, prefix + node.operation.name)
    return found


def _dense(leaves: list[Tensor]) -> list[Tensor]:
    return [
        leaf
        for leaf in leaves
        if ops.is_tensor(leaf)
        and "Sparse" not in type(leaf).__name__
        and "Ragged" not in type(leaf).__name__
        and "string" not in str(leaf.dtype)
        and None not in leaf.shape
        and not getattr(leaf, "is_meta", False)  # PyTorch: no values
    ]
