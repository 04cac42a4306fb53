"""Finds layers inside a model, with a path for each.

What it reads of Keras' private names is in `sublayers` and `CONV_LSTM_CELL`;
`tests/contracts/test_sublayers.py` pins it.
"""

import sys

import keras

from kerasdrop.layers.state import DrawState

# The cell of the ConvLSTM layers has no public name. To ask a layer for it
# would make one, and variables, when the package is imported.
CONV_LSTM_CELL = sys.modules[
    keras.layers.ConvLSTM1D.__mro__[1].__module__
].ConvLSTMCell


def sublayers(layer):
    """The layers that `layer` holds itself, in the order it got them.

    As the public `Model.layers`, which layers that are no models lack.
    """
    return [
        sublayer
        for sublayer in layer._flatten_layers(
            include_self=False, recursive=False
        )
        if not isinstance(sublayer, DrawState)
    ]


def walk(layer):
    """Yields (path, layer) for every layer inside `layer`, each once.

    A path joins the names of the layers on the way by "/"; it leaves out
    `layer` itself. Where two layers would have the same path, the second one
    gets "#2". A layer that is reached in several ways has the first path.
    """
    yield from _walk(layer, "", {id(layer)}, set())


def _walk(layer, prefix, seen, paths):
    for sublayer in sublayers(layer):
        if id(sublayer) in seen:
            continue
        seen.add(id(sublayer))
        path = _unique(prefix + sublayer.name, paths)
        paths.add(path)
        yield path, sublayer
        yield from _walk(sublayer, path + "/", seen, paths)


def _unique(path, paths):
    number = 1
    unique = path
    while unique in paths:
        number += 1
        unique = f"{path}#{number}"
    return unique


def class_name(layer):
    """The name of a layer's class, with `keras.layers` where it is theirs."""
    cls = type(layer)
    if getattr(keras.layers, cls.__name__, None) is cls:
        return f"keras.layers.{cls.__name__}"
    return cls.__name__


def listing(found):
    """Lines for an error message that lists (path, layer) pairs."""
    lines = [f"  {path} ({class_name(layer)})" for path, layer in found[:20]]
    if len(found) > 20:
        lines.append(f"  … and {len(found) - 20} more")
    return "\n".join(lines) or "  none"
