"""Whether a copy with further layers reads the weights file of its original.

Keras writes `.weights.h5` by the class of a layer and its number among those
of its class, in the order of `model.layers`, which is that of their depth in
the graph. So a new layer on one of two parallel paths can change which layer
reads what, without an error where the shapes agree.
"""

import collections

import keras

from kerasdrop._structure import keras_graph
from kerasdrop._types import Given
from kerasdrop.layers.base import StochasticLayer


def why_not_loaded(pairs: Given) -> str:
    """Why the file of an original is not read by its copy; "" if it is.

    Args:
        pairs: List of (layer of the original, its copy), the models too.
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
    """A layer with a state that another one would get; or None."""
    news = _by_class(new.layers)
    for name, layers in _by_class(old.layers).items():
        for layer, other in zip(layers, news[name]):
            if _has_state(layer) and copies.get(id(layer)) is not other:
                return layer
    return None


def _by_class(layers: Given) -> dict[str, list[keras.layers.Layer]]:
    found = collections.defaultdict(list)
    for layer in layers:
        # Keras' own names are these with underscores.
        found[type(layer).__name__.lower().replace("_", "")].append(layer)
    return found


def _has_state(layer: keras.layers.Layer) -> bool:
    """Whether a file holds anything of a layer: weights, or our state."""
    return bool(layer.weights) or any(
        isinstance(one, StochasticLayer)
        for one in keras_graph.all_layers(layer)
    )
