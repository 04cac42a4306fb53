"""Finds out whether a copy with new layers can load the original's weights.

Keras names the entries of `.weights.h5` by the class of a layer and its number
among the layers of this class, in the order of `model.layers`, which follows
their depth in the graph. A new layer on one of two parallel paths can therefore
change which layer reads which weights, without an error if the shapes agree.
"""

import collections

import keras

from kerasdrop._structure import keras_graph
from kerasdrop._types import Given
from kerasdrop.layers.base import StochasticLayer


def why_not_loaded(pairs: Given) -> str:
    """Why a copy cannot load the file of its original; "" if it can.

    Args:
        pairs: List of (layer of the original, its copy), including the models.
    """
    copies = {id(old): new for old, new in pairs}
    for old, new in pairs:
        if keras_graph.graph_of(old) is None:
            continue
        if type(old) is not type(new):
            return (
                f"'{old.name}' is a {type(old).__name__}, which names its "
                f"layers in its own way, and its copy a {type(new).__name__}"
            )
        moved = _moved(old, new, copies)
        if moved is not None:
            return (
                f"'{moved.name}' changes its position among the layers of its "
                "class, by which files identify them"
            )
    return ""


def _moved(old: Given, new: Given, copies: dict[int, Given]) -> Given:
    """A layer whose state another layer would get; or None."""
    news = _by_class(new.layers)
    for name, layers in _by_class(old.layers).items():
        for layer, other in zip(layers, news[name]):
            if _has_state(layer) and copies.get(id(layer)) is not other:
                return layer
    return None


def _by_class(layers: Given) -> dict[str, list[keras.layers.Layer]]:
    found = collections.defaultdict(list)
    for layer in layers:
        # Keras' names are these with underscores.
        found[type(layer).__name__.lower().replace("_", "")].append(layer)
    return found


def _has_state(layer: keras.layers.Layer) -> bool:
    """Whether a file contains anything of a layer: weights, or our state."""
    return bool(layer.weights) or any(
        isinstance(one, StochasticLayer)
        for one in keras_graph.all_layers(layer)
    )
