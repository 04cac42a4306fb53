"""Checks of a rebuilt copy that weights and predictions do not cover."""

import re

import keras
import numpy as np

from kerasdrop._adapters import adapters
from kerasdrop._adapters import registry
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop.conversion import rebuilding
from kerasdrop.layers.base import StochasticLayer

Pairs = list[tuple[keras.layers.Layer, keras.layers.Layer]]
# Entries that are compared elsewhere, or may differ: names, initializers.
_LEFT_OUT = re.compile(
    "name|seed|dtype|trainable|implementation|dropout|recurrent_dropout|rate"
    "|cells?|.*_initializer"
)


def check_nothing_is_shared(
    model: keras.layers.Layer, duplicate: keras.layers.Layer
) -> None:
    """Raises if a copy contains a layer or variable of its original.

    This happens if `get_config` returns a layer itself, or by a global.
    """
    owned = set(map(id, keras_graph.all_layers(model)))
    for path, layer in model_tree.walk(duplicate):
        if id(layer) in owned:
            raise ValueError(
                f"Model '{model.name}' cannot be copied: rebuilt from its "
                f"configuration, it holds layer '{path}' "
                f"({model_tree.class_name(layer)}) of the old model itself, "
                "and both would train it. Where `get_config` returns a layer, "
                "let it return `keras.saving.serialize_keras_object(layer)`, "
                "and `from_config` deserialize it; make layers in `__init__`, "
                "not in a global or in the class."
            )
    owned = set(map(id, model.variables))
    for variable in duplicate.variables:
        if id(variable) in owned:
            raise ValueError(
                f"Model '{model.name}' cannot be copied: rebuilt from its "
                f"configuration, it has variable '{variable.path}' of the old "
                "model itself. Make variables in `__init__` or `build`, not "
                "in a global or in the class."
            )


def carry_arguments(pairs: Pairs) -> None:
    """Copies attributes that only training shows, or raises.

    An example is the momentum of a batch normalization that was changed later,
    which each call reads. A regularizer acts only when a layer is built. Rates
    and dtypes are not included.
    """
    for old, new in pairs:
        if type(old) is not type(new) or not _tells_all(old):
            continue
        for name, before, now in _differences(old, new):
            if isinstance(before, float) and getattr(new, name, None) == now:
                setattr(new, name, before)
        for name, before, now in _differences(old, new):
            raise ValueError(
                f"Layer '{old.name}' ({model_tree.class_name(old)}) cannot be "
                f"copied: it has {name}={before!r}, but {name}={now!r} when "
                "the model is rebuilt from its configuration. Let the "
                "`get_config` of the class that makes it return all arguments "
                "of `__init__`, and do not change attributes afterwards."
            )


def _differences(
    old: keras.layers.Layer, new: keras.layers.Layer
) -> list[tuple[str, Given, Given]]:
    """Triples of a name and its values in two configurations."""
    try:
        before, now = old.get_config(), new.get_config()
    except rebuilding.NOT_REBUILT:
        return []  # made by code, from objects without a configuration
    return [
        (name, before[name], now[name])
        for name in before
        if name in now
        and not _LEFT_OUT.fullmatch(name)
        and not _is_same(before[name], now[name])
    ]


def _tells_all(layer: keras.layers.Layer) -> bool:
    """Whether it is Keras', and contains no layers except for cells."""
    return not (
        adapters.is_foreign(layer)
        or isinstance(layer, StochasticLayer)
        or not all(map(registry.is_cell, model_tree.sublayers(layer)))
    )


def _is_same(before: Given, now: Given) -> bool:
    """Whether two values are known to be equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = _kept(before) | _kept(now)
        return all(_is_same(before.get(key), now.get(key)) for key in keys)
    if isinstance(before, (list, tuple)) and isinstance(now, (list, tuple)):
        return len(before) == len(now) and all(map(_is_same, before, now))
    plain = (bool, int, float, str, dict, type(None))
    if isinstance(before, plain) and isinstance(now, plain):
        return bool(before == now)
    if isinstance(before, np.ndarray) and isinstance(now, np.ndarray):
        return np.array_equal(before, now)
    return True


def _kept(config: Config) -> set[str]:
    return {key for key in config if key not in ("name", "seed")}
