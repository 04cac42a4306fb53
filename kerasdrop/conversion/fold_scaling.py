"""Moves the scaling of classic dropout from activations into kernels."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import ops

from kerasdrop import layers
from kerasdrop._adapters import registry
from kerasdrop._refusals import blame
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.conversion import comparing
from kerasdrop.conversion import copying
from kerasdrop.conversion import trying
from kerasdrop.conversion.reports import FoldingReport
from kerasdrop.layers import stand_ins


class Folding(NamedTuple):
    """A new model for inference, and the report of what was folded.

    Attributes:
        model: The new `keras.Model`.
        report: A `FoldingReport`; printed, it is a table.

    Example:

    >>> classic = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         kerasdrop.layers.ClassicDropout(0.5, name="drop"),
    ...         keras.layers.Dense(1),
    ...     ]
    ... )
    >>> folded, report = kerasdrop.fold_classic_scaling(classic)
    >>> list(report.folded)
    ['drop']
    """

    model: keras.Model
    report: FoldingReport


def fold_classic_scaling(model: keras.Model, x: Structure = None) -> Folding:
    """A copy of a model whose kernels contain the scaling of classic dropout.

    At inference a `ClassicDropout` multiplies by `1 - rate`. If its outputs go
    only into layers that are linear in a kernel (dense and convolution
    layers), multiplying the kernel has the same effect, as in the 2014 paper;
    biases stay. The dropout layer is replaced by an identity of the same name
    and costs nothing more. Between the two there may be layers f with `f(c *
    x) = c * f(x)` for `c >= 0`: dropout and noise layers that do nothing at
    inference; reshaping, padding, cropping, upsampling and pooling; `PReLU`,
    `LeakyReLU`, `ReLU` without `max_value` and `threshold`, or an `Activation`
    with one of these functions.

    The rate is the current value of `layer.rate`; with a schedule, it is the
    rate of the next training call.

    The new model is for inference. Its predictions are those of `model`, up to
    rounding. If you train it, it trains without the folded dropout, and weight
    penalties apply to the smaller kernels. It has its own layers and weights;
    `model` stays as it is. It is not compiled.

    Args:
        model: A built functional or sequential model.
        x: Inputs of a few rows, as of `convert_dropout`; needed only if there
            are layers of other classes than those of Keras, whose copies are
            compared, and they take none of the inputs that are made up.

    Returns:
        A `Folding`, a named tuple of

        - `model`: the new model;
        - `report`: its `folded` and `skipped` are dicts from a layer's path
          to an explanation; printed, it is a table. A dropout layer is
          skipped if it feeds another activation, a sum, an output, a recurrent
          layer, or a layer that is shared, quantized or has LoRA weights; if
          it is called more than once; if it draws at inference; or if it is
          inside a layer.

    Raises:
        ValueError: If there is no `ClassicDropout`; if none can be folded; if
            the model is not built or is a subclassed model; if one of its
            layers cannot be rebuilt from its configuration, or differs after
            that; or if two of them share a variable.
        TypeError: If `model` is not a `keras.Model`.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         kerasdrop.layers.ClassicDropout(0.5, name="drop"),
    ...         keras.layers.Dense(1, name="head"),
    ...     ]
    ... )
    >>> print(fold_classic_scaling(model).report)
    folded  drop  kernels of 'head' times 0.5

    Reference: [Srivastava et al., 2014](
    https://jmlr.org/papers/v15/srivastava14a.html), section 4, figure 2:
    at test time "the weights are multiplied by p", their p being `1 - rate`.
    """
    copying.check_copyable(
        model,
        "fold_classic_scaling",
        "Multiply the kernels by `1 - rate` there.",
    )
    found, skipped = foldable(model)
    if not found:
        raise _nothing_to_fold(model, skipped)
    folded = {id(layer) for layer, _ in found.values()}
    trial = trying.Trial(model, x)
    with blame("fold_classic_scaling"):
        new_model, pairs = copying.copy_model(
            model,
            lambda layer, _: (
                stand_ins.identity(layer) if id(layer) in folded else None
            ),
            trial=trial,
        )
        multiply_kernels(found, pairs)
        comparing.predictions(trial, new_model, pairs)
    described = {path: describe(*target) for path, target in found.items()}
    return Folding(new_model, FoldingReport(described, skipped))


def foldable(
    model: keras.Model,
) -> tuple[dict[str, tuple[keras.layers.Layer, list[Given]]], dict[str, str]]:
    """Finds the classic dropout layers whose scaling kernels can take.

    Returns:
        A dict from a layer's path to (the layer, the layers whose kernels take
        its factor), and a dict from the path of any other to the reason.
    """
    calls = _Calls(model)
    found = {}
    skipped = {}
    for path, layer in model_tree.walk(model):
        if isinstance(layer, layers.ClassicDropout):
            try:
                found[path] = (layer, calls.kernels_behind(layer))
            except _NotFoldable as reason:
                skipped[path] = str(reason)
    return found, skipped


def multiply_kernels(
    found: dict[str, tuple[keras.layers.Layer, list[keras.layers.Layer]]],
    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]],
) -> None:
    """Multiplies the kernels of copies.

    Args:
        found: As `foldable` returns it.
        pairs: List of (layer, its copy).
    """
    factors: dict[Given, Given] = {}
    for classic, kernels in found.values():
        for layer in kernels:
            factor = factors.get(id(layer), 1.0)
            factors[id(layer)] = factor * (1.0 - classic.rate)
    for original, duplicate in pairs:
        if id(original) in factors:
            kernel = getattr(duplicate, _kernel_of(original))
            # The product is computed in float64 and rounded once.
            value = ops.convert_to_numpy(kernel).astype("float64")
            kernel.assign(value * factors[id(original)])


def describe(
    classic: keras.layers.Layer, kernels: list[keras.layers.Layer]
) -> str:
    """Where the factor of a classic dropout layer goes, in words."""
    names = ", ".join(f"'{layer.name}'" for layer in kernels)
    return f"kernels of {names} times {1.0 - classic.rate:g}"


def _nothing_to_fold(model: keras.Model, skipped: dict[str, str]) -> Given:
    if not skipped:
        return ValueError(
            f"fold_classic_scaling: model '{model.name}' has no "
            "`kerasdrop.layers.ClassicDropout`. Other dropout layers do not "
            "scale at inference: use the model as it is."
        )
    listed = "\n".join(f"  {path}: {why}" for path, why in skipped.items())
    return ValueError(
        f"fold_classic_scaling: none of the classic dropout layers of model "
        f"'{model.name}' can be folded exactly:\n{listed}\nUse the model as "
        "it is; its predictions are the same."
    )


class _NotFoldable(Exception):
    """The message is the reason."""


@dataclasses.dataclass(frozen=True)
class _Call:
    """One call of a layer or operation, also inside inner graphs."""

    operation: Given
    inputs: tuple[Given, ...]  # values, which are plain objects
    outputs: tuple[Given, ...]
    training: object  # as given at the call


class _Calls:
    """All calls of a model, with the consumers of their outputs."""

    def __init__(self, model: keras.Model) -> None:
        self._of_operation: dict[Given, list[Given]] = collections.defaultdict(
            list
        )
        self._consumers: dict[Given, list[Given]] = collections.defaultdict(
            list
        )
        graph = keras_graph.graph_of(model)
        inputs = [object() for _ in graph.inputs]
        self._model_outputs = set(self._add_graph(graph, inputs))

    def _add_graph(
        self, graph: keras.Model, inputs: Sequence[Given]
    ) -> list[Given]:
        """Adds the calls of a graph; returns the values of its outputs."""
        values = {
            id(tensor): value for tensor, value in zip(graph.inputs, inputs)
        }
        for node in keras_graph.nodes_of(graph):
            node_inputs = tuple(values[id(x)] for x in node.input_tensors)
            outputs = self._add_node(node, node_inputs)
            for tensor, value in zip(node.outputs, outputs):
                values[id(tensor)] = value
        return [values[id(tensor)] for tensor in graph.outputs]

    def _add_node(self, node: Given, inputs: Structure) -> Structure:
        training = training_at(node)
        inner = keras_graph.graph_of(node.operation)
        is_open = inner is not None and len(inner.inputs) == len(inputs)
        if is_open and training is None:
            return self._add_graph(inner, inputs)
        outputs = tuple(object() for _ in node.outputs)
        call = _Call(node.operation, inputs, outputs, training)
        self._of_operation[id(node.operation)].append(call)
        for value in inputs:
            self._consumers[value].append(call)
        return outputs

    def kernels_behind(
        self, classic: keras.layers.Layer
    ) -> list[keras.layers.Layer]:
        """The layers whose kernels take the factor of `classic`, in order.

        Raises:
            _NotFoldable: If kernels cannot take the factor.
        """
        calls = self._of_operation[id(classic)]
        if not calls:
            raise _NotFoldable("it is inside a layer that calls it by itself")
        if len(calls) > 1:
            raise _NotFoldable(f"it is called {len(calls)} times")
        if classic.stochastic_inference or calls[0].training:
            raise _NotFoldable("it draws at inference, so it does not scale")
        kernels: dict[Given, Given] = {}
        self._follow(calls[0].outputs[0], kernels)
        return list(kernels.values())

    def _follow(self, value: Given, kernels: dict[int, Given]) -> None:
        if value in self._model_outputs:
            raise _NotFoldable("it feeds an output of the model")
        for call in self._consumers[value]:
            operation = call.operation
            if _kernel_of(operation):
                self._check_kernel(operation)
                kernels[id(operation)] = operation
                continue
            draws = call.training or _always_draws(operation)
            reason = registry.why_no_factor_passes(operation, draws)
            if reason:
                raise _NotFoldable(f"it feeds {_label(operation)}, {reason}")
            self._follow(call.outputs[0], kernels)

    def _check_kernel(self, layer: keras.layers.Layer) -> None:
        feeds = f"it feeds {_label(layer)}, which is"
        if len(self._of_operation[id(layer)]) > 1:
            raise _NotFoldable(f"{feeds} called more than once")
        if layer.quantization_mode is not None:
            raise _NotFoldable(f"{feeds} quantized")
        if getattr(layer, "lora_enabled", False):
            raise _NotFoldable(f"{feeds} LoRA-enabled")


def training_at(node: Given) -> bool | None:
    """The argument `training` of a call of a graph, or None."""
    tensors = {id(tensor): tensor for tensor in node.input_tensors}
    # It is a keyword argument: Keras takes only tensors by position.
    _, keywords = keras_graph.arguments_of(node, tensors)
    return keywords.get("training")


def _kernel_of(operation: keras.layers.Layer) -> Given:
    """The name of the kernel in which the outputs are linear; or None."""
    facts = registry.facts_of(type(operation))
    return None if facts is None else facts.kernel


def _always_draws(operation: keras.layers.Layer) -> bool:
    return getattr(operation, "stochastic_inference", False)


def _label(operation: keras.layers.Layer) -> str:
    return f"'{operation.name}' ({model_tree.class_name(operation)})"
