"""Chooses the layer of this package that replaces a dropout layer."""

import inspect

import keras

from kerasdrop import layers
from kerasdrop._adapters import drawing
from kerasdrop._adapters import registry
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.conversion import rebuilding


def class_for(cls: type) -> Given:
    """The class of this package for a class of Keras, or None.

    Subclasses stay, because their overridden methods would be lost.
    """
    facts = registry.facts_of(cls)
    return None if facts is None else facts.counterpart


def is_convertible(layer: keras.layers.Layer) -> bool:
    """Whether a layer of kerasdrop can replace this one."""
    if registry.is_attention_without_dropout(layer):
        return False
    if class_for(type(layer)) is None:
        return False
    rates = registry.rates_inside(layer)
    if rates is not None and not any(rate > 0.0 for rate in rates):
        return False  # it drops nothing
    return not _has_no_scaling_of_ours(layer)


def counterpart(
    layer: keras.layers.Layer, copy: Function
) -> keras.layers.Layer | None:
    """The replacement of a layer of a graph, or None if it is only copied."""
    if not isinstance(layer, keras.layers.Layer):
        return None
    if not is_convertible(layer):
        held = (inner for _, inner in model_tree.walk(layer))
        return (
            rebuilding.rebuild(layer)
            if any(map(is_convertible, held))
            else None
        )
    if class_for(type(layer)) is layers.DropPath:
        return _drop_path(layer)
    # Spatial dropout leaves out everything but a dtype of its policy.
    config = {
        **layer.get_config(),
        **registry.left_out_of_config(layer),
        "dtype": layer.dtype_policy,
    }
    return class_for(type(layer)).from_config(config)


def makers() -> dict[type, Function]:
    """Functions that make our layers, for `making.replacing_constructors`."""
    return {cls: _maker(cls) for cls in registry.classes_with_counterpart()}


def why_kept(layer: keras.layers.Layer, owner: Given) -> str:
    """Why a dropout layer was not converted; "" if there is nothing to say."""
    name = model_tree.class_name(layer)
    is_dropout = registry.is_stock_dropout(layer)
    if is_dropout and owner and registry.is_attention_without_dropout(owner):
        return f"attention '{owner.name}' was made with dropout=0 and has none"
    if _has_no_scaling_of_ours(layer):
        return f"{name} with scale_by_keep=False has no counterpart here"
    if is_convertible(layer):
        return (
            f"'{owner.name}' ({type(owner).__name__}) makes this {name} itself"
        )
    if is_dropout:
        return f"{name} is a subclass; what it overrides would be lost"
    if registry.drops_in_its_call(layer) and not _is_cell_of(layer, owner):
        rates = {
            name: getattr(layer, name, 0.0)
            for name in ("dropout", "recurrent_dropout")
        }
        if any(rate > 0.0 for rate in rates.values()):
            listed = ", ".join(f"{key}={rates[key]}" for key in rates)
            return f"{name} drops units inside its own call ({listed})"
    return ""


def _is_cell_of(
    layer: keras.layers.Layer, owner: keras.layers.Layer | None
) -> bool:
    """Whether the recurrent layer already answers for this cell."""
    return owner is not None and (
        registry.is_around_cell(owner) and owner.cell is layer
    )


def _has_no_scaling_of_ours(layer: keras.layers.Layer) -> bool:
    """Whether a drop path does not divide kept rows by their share."""
    is_path = registry.nearest_facts(type(layer)).adapter is drawing.DROP_PATH
    return is_path and not getattr(layer, "scale_by_keep", True)


def _drop_path(layer: keras.layers.Layer) -> keras.layers.Layer:
    seed = getattr(layer, "seed", None)
    return layers.DropPath(
        # In DINOV3 it is a tensor.
        float(keras.ops.convert_to_numpy(drawing.rate_of(layer))),
        seed=seed if isinstance(seed, int) else None,
        name=layer.name,
        dtype=layer.dtype_policy,
    )


def _maker(cls: type) -> Function:
    ours = class_for(cls)
    facts = registry.facts_of(cls) or registry.NOTHING

    def made(owner: Given, args: Given, kwargs: Config) -> Given:
        if ours is layers.DropPath:
            stock = cls(*args, **kwargs)
            return _drop_path(stock) if is_convertible(stock) else None
        if needs_its_own(owner):
            return None
        if not _asks_for(cls, facts, args, kwargs):
            return None
        return ours.__new__(ours, *args, **kwargs)

    return made


def needs_its_own(owner: Given) -> bool:
    """Whether a layer needs the dropout layer of Keras that it creates.

    A layer of this package replaces it, and attention with rate 0 never calls
    it.
    """
    if not isinstance(owner, keras.layers.Layer):
        return False
    if registry.nearest_facts(type(owner)).extends is not None:
        return True
    return registry.is_attention_without_dropout(owner)


def _asks_for(cls: Given, facts: Given, args: Given, kwargs: Config) -> bool:
    """Whether the arguments of a layer give it a rate above 0.

    A layer that is a dropout layer by its class counts at any rate.
    """
    if not (facts.inner_rates or cls is keras.layers.RNN):
        return True
    try:
        given = inspect.signature(cls.__init__).bind(None, *args, **kwargs)
    except TypeError:
        return False  # the class itself will raise
    if cls is keras.layers.RNN:
        cells = registry.cells_in(given.arguments["cell"])
        # A cell whose rates are taken must be refused, not skipped.
        return any(map(layers.RNN.has_taken, cells)) or any(
            rate > 0.0 for rate in registry.rates_of_cells(cells)
        )
    return any(given.arguments.get(name) for name in facts.inner_rates)
