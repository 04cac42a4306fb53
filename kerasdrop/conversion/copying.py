"""Copies a model layer by layer, so that some layers can become others.

`keras.models.clone_model` does the walking of one graph. It is called for one
graph at a time and on an uncompiled shell of it: left to itself it compiles
what was compiled, which fails for a loss that is not registered, and it drops
what the inputs say beyond shape and dtype.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator

import keras
import numpy as np
from keras import tree

from kerasdrop import _refusals
from kerasdrop import layers
from kerasdrop._adapters import adapters
from kerasdrop._adapters import making
from kerasdrop._adapters import registry
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.conversion import counterparts
from kerasdrop.conversion import grafting
from kerasdrop.conversion import likeness
from kerasdrop.conversion import lora
from kerasdrop.conversion import rebuilding
from kerasdrop.conversion.trying import Trial
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.layers.base import StochasticWrapper


def check_copyable(
    model: keras.Model, caller: str, fix: str = "", is_copyable: Given = None
) -> None:
    """Raises unless `model` is a built model that can be copied.

    Args:
        model: What was received for a model.
        caller: String, the name of the public function.
        fix: A sentence, what to do about a model without a graph.
        is_copyable: Function of a model that returns whether its graph is all
            that is needed; if it is None, the class must be one of Keras'.
            Without a `fix`, all models are.
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
    if fix and not (is_copyable or is_graph)(model):
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
            that returns what it shall become, or None for a copy. It is asked
            about the layers of the graph and of graphs in it, not about
            layers inside layers: those it may copy into a model of its own.
        grafts: Dict from the id of a model with a graph to what is put
            into that graph, a list of `grafting.Graft`. A model that is
            named here, with an empty list, too, is copied as a graph whatever
            its class; where `rebuild` could not make it, as a `keras.Model`.
        code: `making.made_otherwise`, what code makes meanwhile. None: layers
            of ours, in blocks that hold some.
        trial: The `Trial` of the model; None: one with inputs made up.

    Returns:
        The copy; and a list of (layer, its copy), those inside layers, too.
    """
    copies = {}
    grafts = grafts or {}

    def copy(operation: keras.Operation) -> keras.Operation:
        if id(operation) not in copies:
            if id(operation) in grafts or is_graph(operation):
                inserted = grafts.get(id(operation), ())
                duplicate = _copy_graph(operation, copy, inserted)
            else:
                duplicate = replacement(operation, copy)
                if duplicate is None:
                    with rebuilding.by_its_code(operation):
                        duplicate = rebuilding.rebuild(operation)
            copies[id(operation)] = (operation, duplicate)
        return copies[id(operation)][1]

    with code or making.made_otherwise(_keeping_ours(model)):
        duplicate = copy(model)
        likeness.check_nothing_is_shared(model, duplicate)
        if any(itertools.starmap(_is_not_whole, copies.values())):
            (trial or Trial(model)).call_once(duplicate)
    pairs = []
    # A model comes after what it holds; `trainable` must be set before.
    for original, its_copy in reversed(copies.values()):
        pairs.extend(_copy_state(original, its_copy))
    _check_weights_are_not_tied(model, duplicate, _left_out(copies.values()))
    likeness.carry_arguments(pairs)
    return duplicate, pairs


def _keeping_ours(model: keras.Model) -> dict[type, Function]:
    """What code makes, so that converted blocks stay what they are."""
    for layer in keras_graph.all_layers(model):
        if adapters.is_foreign(layer) and not is_graph(layer):
            held = keras_graph.all_layers(layer)
            if any(isinstance(one, StochasticLayer) for one in held):
                return counterparts.makers()
    return {}


def _is_not_whole(
    original: keras.Operation, duplicate: keras.Operation
) -> bool:
    """Whether the code of a block makes more than is made by now."""
    if type(original) is not type(duplicate) or is_graph(original):
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
    """A layer as a configuration, built as that whose place it takes was."""
    new_config = keras.saving.serialize_keras_object(layer)
    if "build_config" in config:
        new_config["build_config"] = config["build_config"]
    return new_config


def serialized_class(config: Config) -> type | None:
    """The class of a serialized layer, of Keras or ours; or None."""
    name = config.get("class_name")
    if not isinstance(name, str) or not isinstance(config.get("config"), dict):
        return None
    if config.get("module") == "keras.layers":
        return getattr(keras.layers, name, None)
    if str(config.get("registered_name")).startswith("kerasdrop>"):
        return getattr(layers, name, None)
    return None


def is_graph(operation: keras.layers.Layer) -> bool:
    """Whether all that a model does is in its graph, and it can be remade."""
    if not isinstance(operation, keras.Model):
        return False
    if keras_graph.graph_of(operation) is None:
        return False
    return type(operation).__init__.__module__.startswith("keras.")


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
    """The class of a model, or where it is not made of a graph, Keras' own."""
    if is_graph(model):
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


def _copy_state(
    original: keras.Operation, duplicate: keras.Operation
) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Copies what a configuration does not hold; returns the pairs."""
    if not isinstance(original, keras.layers.Layer):
        return []  # an operation of `keras.ops`
    if is_graph(original):
        _copy_trainable(original, duplicate)
        duplicate.dtype_policy = original.dtype_policy
        return [(original, duplicate)]
    if is_graph(duplicate):  # of layers that are copies themselves
        _copy_trainable(original, duplicate)
        return [(original, duplicate)]
    # NumPy arrays in between: two models must not share a JAX buffer, which
    # training gives back.
    left_out = _weights_of_released(original, duplicate)
    pairs = _paired(original, duplicate)
    lora.enable_again(pairs)
    weights = [
        keras.ops.convert_to_numpy(weight)
        for weight in original.weights
        if id(weight) not in left_out
    ]
    try:
        duplicate.set_weights(weights)
    except ValueError as error:
        raise ValueError(
            f"Layer '{original.name}' ({type(original).__name__}) cannot be "
            "copied: rebuilt from its configuration it has other weights: "
            f"{error} Let its `get_config` return all arguments of its "
            "`__init__`."
        ) from error
    _check_weights_are_equal(original, duplicate, weights)
    for old, new in pairs:
        _copy_trainable(old, new)
        if isinstance(old, StochasticLayer) and type(old) is type(new):
            _copy_draw_state(old, new)
        if isinstance(old, keras.layers.Normalization):
            new.finalize_state()
        if hasattr(old, "save_assets"):
            _copy_assets(old, new)
    if not left_out:
        lora.trainable_as_before(original, duplicate)
    return pairs


def _check_weights_are_equal(
    original: keras.layers.Layer,
    duplicate: keras.layers.Layer,
    weights: list[Array],
) -> None:
    """Raises if a weight does not hold what it was given: another dtype."""
    for weight, value in zip(duplicate.weights, weights):
        now = keras.ops.convert_to_numpy(weight)
        if now.dtype != value.dtype or not np.array_equal(
            now, value, equal_nan=value.dtype.kind == "f"
        ):
            raise ValueError(
                f"Layer '{original.name}' ({type(original).__name__}) cannot "
                "be copied: rebuilt from its configuration, its weight "
                f"'{weight.path}' is {now.dtype}, and was {value.dtype}. Let "
                "its `get_config` return its `dtype`."
            )


def _paired(
    original: keras.layers.Layer, duplicate: keras.layers.Layer
) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """A layer and all inside it, each with its copy."""
    return list(_pairs(original, duplicate, set(), []))


def _pairs(
    original: keras.layers.Layer,
    duplicate: keras.layers.Layer,
    seen: set[Given],
    released: list[Given],
) -> Iterator[Given]:
    """As `_paired`; wrappers whose copy is the layer in them go to a list."""
    if id(original) in seen:
        return
    seen.add(id(original))
    yield original, duplicate
    if _is_released(original, duplicate):
        released.append(original)
        yield from _pairs(original.layer, duplicate, seen, released)
        return
    old, new = map(model_tree.sublayers, (original, duplicate))
    if type(original) is not type(duplicate):
        # A layer of Keras and ours, or the reverse: its dropout is another.
        old, new = map(_without_dropout, (old, new))
    if len(old) != len(new):
        raise ValueError(
            f"Layer '{original.name}' ({type(original).__name__}) cannot be "
            f"copied: it holds {len(old)} layers, but {len(new)} when "
            "rebuilt from its configuration. Let its `get_config` return all "
            "that decides which layers it makes."
        )
    for one, other in zip(old, new):
        yield from _pairs(one, other, seen, released)


def _is_released(
    original: keras.layers.Layer, duplicate: keras.layers.Layer
) -> bool:
    """Whether the copy of a wrapper is the copy of the layer in it alone."""
    is_wrapper = isinstance(original, StochasticWrapper)
    return is_wrapper and type(duplicate) is type(original.layer)


def _weights_of_released(
    original: keras.layers.Layer, duplicate: keras.layers.Layer
) -> set[Given]:
    """Ids of the weights of wrappers inside a layer that its copy lacks."""
    released: list[Given] = []
    list(_pairs(original, duplicate, set(), released))
    left_out = set()
    for wrapper in released:
        kept = {id(weight) for weight in wrapper.layer.weights}
        left_out |= {id(weight) for weight in wrapper.weights} - kept
    return left_out


def _without_dropout(held: list[Given]) -> list[Given]:
    return [
        layer
        for layer in held
        if not (
            isinstance(layer, StochasticLayer)
            or registry.is_stock_dropout(layer)
        )
    ]


def _copy_draw_state(
    original: keras.layers.Layer, duplicate: keras.layers.Layer
) -> None:
    store: dict[Given, Given] = {}
    original._state.save_own_variables(store)
    duplicate._state.load_own_variables(store)


def _left_out(pairs: Given) -> set[int]:
    """Ids of the weights of layers that became models of what is in them."""
    left_out = set()
    for original, duplicate in pairs:
        if is_graph(duplicate) and not is_graph(original):
            inside = model_tree.sublayers(original)
            kept = {id(weight) for layer in inside for weight in layer.weights}
            left_out |= {id(weight) for weight in original.weights} - kept
        elif isinstance(original, keras.layers.Layer) and not is_graph(
            duplicate
        ):
            left_out |= _weights_of_released(original, duplicate)
    return left_out


def _check_weights_are_not_tied(
    model: keras.Model, duplicate: keras.Model, left_out: set[int]
) -> None:
    """Raises if layers shared a variable, which their copies cannot."""
    count = len({id(weight) for weight in model.weights} - left_out)
    copied = len({id(weight) for weight in duplicate.weights})
    if count != copied:
        raise ValueError(
            f"Model '{model.name}' cannot be copied layer by layer: two of "
            "its layers use the same variable, and their copies would not "
            "(the copy would have "
            f"{copied} variables instead of {count}). Share a layer instead "
            "of a variable, or build the model with the layers of kerasdrop."
        )


def _copy_assets(
    original: keras.layers.Layer, duplicate: keras.layers.Layer
) -> None:
    """Copies what is kept in files only, as a vocabulary that was learned."""
    with tempfile.TemporaryDirectory() as folder:
        original.save_assets(folder)
        duplicate.load_assets(folder)


def _copy_trainable(
    original: keras.layers.Layer, duplicate: keras.layers.Layer
) -> None:
    if duplicate.trainable != original.trainable:
        duplicate.trainable = original.trainable
