"""Copies a model layer by layer, so that some layers can become others.

`keras.models.clone_model` walks through one graph. It is called for one graph
at a time, on an uncompiled shell of the graph: by itself it would compile a
compiled model, which fails for a loss that is not registered, and it would drop
everything about inputs except shape and dtype.
"""

import contextlib
import itertools

import keras
from keras import tree

from kerasdrop import _refusals
from kerasdrop import layers
from kerasdrop._adapters import adapters
from kerasdrop._adapters import making
from kerasdrop._structure import keras_graph
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.conversion import copied_state
from kerasdrop.conversion import counterparts
from kerasdrop.conversion import grafting
from kerasdrop.conversion import graphs
from kerasdrop.conversion import likeness
from kerasdrop.conversion import lora
from kerasdrop.conversion import rebuilding
from kerasdrop.conversion.trying import Trial
from kerasdrop.layers.base import StochasticLayer


def check_copyable(
    model: keras.Model, caller: str, fix: str = "", is_copyable: Given = None
) -> None:
    """Raises unless `model` is a built model that can be copied.

    Args:
        model: The object that was received as a model.
        caller: String, the name of the public function.
        fix: A sentence with a remedy for a model without a graph.
        is_copyable: Function of a model that returns whether its graph is all
            that is needed. If it is None, the class must be one of Keras'.
            Without a `fix`, all models can be copied.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"{caller}: argument `model` must be a `keras.Model`. "
            f"{_refusals.received_model(model)}"
        )
    if not model.built:
        raise ValueError(
            f"{caller}: model '{model.name}' is not built yet, so it has no "
            "weights to copy. Start it with a `keras.Input`, call "
            "`model.build(input_shape)`, or call it once on data. Received: "
            f"an unbuilt {type(model).__name__}"
        )
    if fix and not (is_copyable or graphs.is_graph)(model):
        raise ValueError(
            f"{caller}: model '{model.name}' is not a functional or "
            "sequential model with a graph: what it does is written in Python "
            f"code, where nothing can be exchanged. {fix} Received: a model "
            f"of class {type(model).__name__}"
        )


def copy_model(
    model: keras.Model,
    replacement: Function,
    grafts: Given = None,
    code: contextlib.AbstractContextManager[None] | None = None,
    trial: Trial | None = None,
) -> tuple[keras.Model, lora.Pairs]:
    """A copy of a model with its own layers and the same weights.

    Layers and submodels that are shared stay shared. The copy is not
    compiled. Layers of kerasdrop keep their rate, step and key.

    Args:
        model: A model that `check_copyable` accepts.
        replacement: Function of (a layer, the function that copies a layer)
            that returns the replacement, or None for a copy. It is called for
            the layers of the graph and of its inner graphs, but not for layers
            inside layers, which it may copy into its own model.
        grafts: Dict from the id of a model with a graph to a list of
            `grafting.Graft`, the layers to put into that graph. A model that is
            named here, even with an empty list, is copied as a graph whatever
            its class is, and as a `keras.Model` if `rebuild` cannot make it.
        code: A context from `making.replacing_constructors` for code that runs
            meanwhile. None: blocks that contain layers of this package create
            such layers.
        trial: The `Trial` of the model; None for one with generated inputs.

    Returns:
        The copy, and a list of (layer, its copy), also inside layers.
    """
    copies = {}
    grafts = grafts or {}

    def copy(operation: keras.Operation) -> keras.Operation:
        if id(operation) not in copies:
            if id(operation) in grafts or graphs.is_graph(operation):
                inserted = grafts.get(id(operation), ())
                duplicate = _copy_graph(operation, copy, inserted)
            else:
                duplicate = replacement(operation, copy)
                if duplicate is None:
                    with rebuilding.by_its_code(operation):
                        duplicate = rebuilding.rebuild(operation)
            copies[id(operation)] = (operation, duplicate)
        return copies[id(operation)][1]

    with code or making.replacing_constructors(_keeping_ours(model)):
        duplicate = copy(model)
        likeness.check_nothing_is_shared(model, duplicate)
        if any(itertools.starmap(_is_not_whole, copies.values())):
            (trial or Trial(model)).call_once(duplicate)
    pairs = []
    # A model comes after its layers, whose `trainable` must be set before.
    for original, its_copy in reversed(copies.values()):
        pairs.extend(copied_state.copy(original, its_copy))
    copied_state.check_weights_are_not_tied(
        model, duplicate, copied_state.left_out(copies.values())
    )
    likeness.carry_arguments(pairs)
    return duplicate, pairs


def _keeping_ours(model: keras.Model) -> dict[type, Function]:
    """What code creates, so that converted blocks stay converted."""
    for layer in keras_graph.all_layers(model):
        if adapters.is_foreign(layer) and not graphs.is_graph(layer):
            held = keras_graph.all_layers(layer)
            if any(isinstance(one, StochasticLayer) for one in held):
                return counterparts.makers()
    return {}


def _is_not_whole(
    original: keras.Operation, duplicate: keras.Operation
) -> bool:
    """Whether the code of a block will create more layers later."""
    if type(original) is not type(duplicate) or graphs.is_graph(original):
        return False
    if not isinstance(original, keras.layers.Layer):
        return False
    held = keras_graph.all_layers(original)
    return any(map(adapters.is_foreign, held)) and (
        (original.built and not duplicate.built)
        or len(original.weights) > len(duplicate.weights)
        or len(held) > len(keras_graph.all_layers(duplicate))
    )


def serialized_in_place(layer: keras.layers.Layer, config: Config) -> Config:
    """Makes a layer from a configuration, built like the one it replaces."""
    new_config = keras.saving.serialize_keras_object(layer)
    if "build_config" in config:
        new_config["build_config"] = config["build_config"]
    return new_config


def serialized_class(config: Config) -> type | None:
    """The class of a serialized layer of Keras or of this package; or None."""
    name = config.get("class_name")
    if not isinstance(name, str) or not isinstance(config.get("config"), dict):
        return None
    if config.get("module") == "keras.layers":
        return getattr(keras.layers, name, None)
    if str(config.get("registered_name")).startswith("kerasdrop>"):
        return getattr(layers, name, None)
    return None


def _copy_graph(
    model: keras.Model, copy: Function, inserted: Given
) -> keras.Model:
    if isinstance(model, keras.Sequential):
        inputs = tree.flatten(_copy_inputs(keras_graph.graph_of(model)))
        body = grafting.listed(model, copy, inserted)
        return _class_of_copy(model)([*inputs, *body], name=model.name)
    shell = _class_of_copy(model)(model.input, model.output, name=model.name)
    if inserted:
        return grafting.copy_of(shell, _copy_inputs(model), copy, inserted)
    return keras.models.clone_model(
        shell, input_tensors=_copy_inputs(model), clone_function=copy
    )


def _class_of_copy(model: keras.Model) -> type:
    """The class of a model, or Keras' own if it does not take a graph."""
    if graphs.is_graph(model):
        return type(model)
    is_list = isinstance(model, keras.Sequential)
    return keras.Sequential if is_list else keras.Model


def _copy_inputs(graph: keras.Model) -> Structure:
    copies = {
        id(layer.output): rebuilding.rebuild(layer).output
        for layer in graph.layers
        if isinstance(layer, keras.layers.InputLayer)
    }
    return tree.map_structure(lambda tensor: copies[id(tensor)], graph.input)
