"""Finds what drops units in a layer, by its class and its rates."""

import keras

from kerasdrop._adapters import adapters
from kerasdrop._adapters import registry
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop.conversion import fold_scaling
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.layers.base import StochasticWrapper


def is_ours(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, StochasticLayer)


def is_removable(layer: keras.layers.Layer) -> bool:
    # Subclasses of Keras' classes are left out, as they may do anything.
    return is_ours(layer) or is_dropped(type(layer))


def is_dropped(cls: type) -> bool:
    """Whether a class of Keras only draws in training, else does nothing."""
    facts = facts_of(cls)
    return facts.is_identity and facts.adapter is not None


def facts_of(cls: type) -> registry.Facts:
    return registry.facts_of(cls) or registry.NOTHING


def extended(cls: type) -> Given:
    """The class of Keras that a class of this package extends, or None."""
    return facts_of(cls).extends


def drops_inside(layer: keras.layers.Layer) -> bool:
    """Whether `layer` drops inside its own computation, by its class."""
    if not isinstance(layer, keras.layers.Layer):
        return False
    facts = registry.nearest_facts(type(layer))
    return bool(facts.inner_rates or facts.extends)


def dropouts_of(layer: keras.layers.Layer) -> Given:
    return filter(is_ours, model_tree.sublayers(layer))


def rates_of(layer: keras.layers.Layer) -> list[Given]:
    """Pairs of a name and a rate above 0 that the layer's call uses."""
    names = facts_of(type(layer)).inner_rates
    # Attention has its rates only in its configuration.
    config = layer.get_config() if names else {}
    return [(name, config[name]) for name in names if config.get(name)]


def drops(layer: keras.layers.Layer) -> bool:
    return (
        is_ours(layer)
        or extended(type(layer)) is not None
        or bool(rates_of(layer))
        or registry.is_attention_with_dropout(layer)
        or (adapters.can_draw(layer) and adapters.rate_of(layer) > 0)
    )


def called_in_training(model: keras.Model) -> set[int]:
    """Ids of the layers that a call with `training=True` reaches."""
    return {
        id(inner)
        for layer in keras_graph.all_layers(model)
        if (graph := keras_graph.graph_of(layer)) is not None
        for node in keras_graph.nodes_of(graph)
        if isinstance(node.operation, keras.layers.Layer)
        and fold_scaling.training_at(node)
        for inner in keras_graph.all_layers(node.operation)
    }


def stands_alone(cls: type) -> bool:
    """Whether a class is of this package and one layer can replace it."""
    return is_ours_class(cls) and not issubclass(cls, StochasticWrapper)


def is_ours_class(cls: type) -> bool:
    return issubclass(cls, StochasticLayer)
