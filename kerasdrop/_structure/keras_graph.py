"""The only module that reads Keras' private facts about a model's graph.

Each function relies on one assumption about Keras, which
`tests/contracts/test_keras_graph.py` pins.
"""

import contextlib
import inspect
import random
import sys
import weakref
from collections.abc import Iterator

import keras
from keras import tree

from kerasdrop._structure import model_tree
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """A model and every layer inside it, private sublayers included, once.

    The order is that in which each layer lists its sublayers, so a model that
    is wrapped in another one keeps its order.
    """
    return [model, *(layer for _, layer in model_tree.walk(model))]


def graph_of(layer: keras.layers.Layer) -> Given:
    """The functional graph that a call of `layer` runs, or None.

    The result is also None for a subclass with its own `call`, because its
    graph does not show what the call does.
    """
    cls = model_tree.owner_of(type(layer), "call")
    if not cls.__module__.startswith("keras.src.models."):
        return None
    if cls.__name__ == "Sequential":
        return layer._functional
    return layer if cls.__name__ == "Functional" else None


def inputs_of(graph: Given, inputs: Tensor) -> list[Tensor]:
    """The flat list of a graph's input tensors, as its own call makes it."""
    return tree.flatten(graph._standardize_inputs(inputs))


def nodes_of(graph: Given) -> Iterator[Given]:
    """The calls of a graph, each after the calls that make its inputs."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.operation is not None and not node.is_input:
                yield node


def node_making(graph: Given, tensor: Tensor) -> Given:
    """The call of a graph that returns a symbolic tensor; None for an input."""
    # Outputs come last.
    for depth in sorted(graph._nodes_by_depth):
        for node in graph._nodes_by_depth[depth]:
            if node.operation is None or node.is_input:
                continue
            if any(output is tensor for output in node.outputs):
                return node
    return None


def arguments_of(node: Given, values: dict[int, Tensor]) -> Given:
    """The positional and keyword arguments of a call.

    Args:
        values: Dict from the `id` of a symbolic tensor to its value.
    """
    return node.arguments.fill_in(values)


def inputs_and_mask(node: Given, values: dict[int, Tensor]) -> Given:
    """The arguments `inputs` and `mask` of the call of a graph.

    Args:
        values: As in `arguments_of`.

    Returns:
        A pair; `mask` is None if the inputs' own masks apply.
    """
    args, kwargs = arguments_of(node, values)
    named = {**dict(zip(("inputs", "training", "mask"), args)), **kwargs}
    return named["inputs"], named.get("mask")


def entrance(operation: Given, run: Function) -> Given:
    """Returns a layer that is called like `operation` and runs `run`.

    Keras does all its usual work around the calls of a graph: it converts the
    inputs, gives them their masks, and passes `training` on. `operation` itself
    does not change.

    Args:
        operation: A layer with a graph.
        run: Function of (flat list of input tensors, their masks or None, a
            function that returns what to call in place of an operation), which
            returns the flat list of the graph's outputs.
    """
    graph = graph_of(operation)
    masks = []

    def call(
        inputs: Tensor,
        training: bool | None = None,
        mask: Tensor | None = None,
        **kwargs: Given,
    ) -> Given:
        masks.append(mask)
        return type(graph).call(
            inside, inputs, training=training, mask=mask, **kwargs
        )

    def run_through_graph(inputs: Tensor, operation_fn: Function) -> Given:
        outputs = run(tree.flatten(inputs), masks.pop(), operation_fn)
        return tree.pack_sequence_as(graph._outputs_struct, outputs)

    inside = _double(graph, call=call, _run_through_graph=run_through_graph)
    if operation is graph:
        return inside
    return _double(operation, _functional=inside)


def _double(layer: keras.layers.Layer, **attributes: object) -> Given:
    """A copy of `layer` with these attributes changed."""
    double = object.__new__(type(layer))
    # This bypasses Keras' tracker. Rematerialization is only of use in
    # training, and a replaced `call` belongs to the layer itself.
    vars(double).update({**vars(layer), "_remat_mode": None})
    vars(double).pop("call", None)
    vars(double).update(attributes)
    return double


def takes_training(operation: Given) -> bool:
    """Whether the `call` of `operation` has an argument `training`."""
    return place_of_training(operation.call) is not None


# The cache is by function. Reading a signature takes longer than many calls do.
_places: Given = weakref.WeakKeyDictionary()


def place_of_training(call: Function) -> int | None:
    """The position of a function's argument `training`; None without it.

    If the argument is keyword-only, the result is a position that no argument
    has.
    """
    function = getattr(call, "__func__", None)  # a bound method
    if function is None:
        return _read_place(call)
    if function not in _places:
        _places[function] = _read_place(call)
    return _places[function]


def _read_place(call: Function) -> int | None:
    parameters = inspect.signature(call).parameters
    if "training" not in parameters:
        return None
    if parameters["training"].kind is inspect.Parameter.KEYWORD_ONLY:
        return sys.maxsize
    return list(parameters).index("training")


def minds_context(operation: Given) -> bool:
    """Whether a call of `operation`, or one inside it, depends on `training`.

    Anything else that Keras passes from call to call counts, too. Other
    operations skip Keras' work for it, which is a fifth of a small pass.
    """
    if not isinstance(operation, keras.layers.Layer):
        return False
    return bool(
        takes_training(operation)
        or model_tree.sublayers(operation)
        or set(operation._call_context_args) - {"training"}
    )


@contextlib.contextmanager
def forgetting_scores(layer: keras.layers.Layer) -> Iterator[None]:
    """Makes attention forget after the block that its scores were requested.

    Before Keras 3.15 it keeps that, for the output shape that it reports.
    """
    name = "_return_attention_scores"
    before = {name: vars(layer)[name]} if name in vars(layer) else {}
    try:
        yield
    finally:
        vars(layer).update(before)


def packed_outputs(graph: Given, flat_outputs: list[Tensor]) -> Structure:
    """A graph's flat outputs in the structure that its call returns."""
    outputs = tree.pack_sequence_as(graph._outputs_struct, flat_outputs)
    if isinstance(outputs, (list, tuple)) and len(outputs) == 1:
        return outputs[0]
    return outputs


def name_of_class(operation: Given) -> str | None:
    """The name of the class of a layer or operation of Keras; else None.

    The classes of operations have no public names.
    """
    cls = type(operation)
    if cls.__module__.startswith(("keras.src.ops.", "keras.src.layers.")):
        return cls.__name__
    return None


_GLOBAL_GENERATOR = "global_seed_generator"


def global_generator() -> Given:
    """The seed generator of `keras.random` functions without a seed, or None.

    It is None until such a function first needs it.
    """
    return _global_state().get_global_attribute(_GLOBAL_GENERATOR)


@contextlib.contextmanager
def no_global_generator_made() -> Iterator[None]:
    """Leaves no global generator behind if there was none before the block.

    Keras makes it where a function without a seed first runs, even if its
    numbers are not used, and takes its seed from Python's generator. It is made
    before the block, since TensorFlow makes no variable in a second trace.
    """
    if global_generator() is not None:
        yield
        return
    state = random.getstate()
    sys.modules["keras.src.random.seed_generator"].global_seed_generator()
    try:
        yield
    finally:
        _global_state().set_global_attribute(_GLOBAL_GENERATOR, None)
        random.setstate(state)


def _global_state() -> Given:
    return sys.modules["keras.src.backend.common.global_state"]
