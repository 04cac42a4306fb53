"""What a pass asks a whole model about its layers."""

import keras
import numpy as np
from keras import ops

from kerasdrop._adapters import attributes
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import drawing
from kerasdrop._adapters import registry
from kerasdrop._adapters import rnn_cells
from kerasdrop._adapters.adapters import adapter_of
from kerasdrop._adapters.adapters import can_draw
from kerasdrop._adapters.adapters import is_foreign
from kerasdrop._adapters.adapters import rate_of
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree


def smallest_chance(model):
    """The smallest probability of what is drawn: a float32 scalar tensor.

    That of a unit to be dropped, or to be kept, if it may be either. It is read
    in the graph, and infinite if nothing is dropped.
    """
    rates = [
        rate for layer in drawable_layers(model) for rate in _live_rates(layer)
    ]
    if not rates:
        return ops.convert_to_tensor(np.inf, "float32")
    rates = ops.stack(rates)
    chances = ops.minimum(rates, 1.0 - rates)
    return ops.min(ops.where(chances > 0.0, chances, np.inf))


def _live_rates(layer):
    """Tensors, each the probability that a unit is dropped."""
    adapter = adapter_of(layer)
    if adapter is None:
        return [layer._rate_tensor()]
    if adapter is drawing.GAUSSIAN_NOISE:
        return []  # a deviation; and no sample is without it
    if adapter.rate is rnn_cells.rate:
        return [
            *map(drawing.rate_tensor, (layer.dropout, layer.recurrent_dropout))
        ]
    return [drawing.rate_tensor(rate_of(layer))]


def fingerprint(model):
    """What a compiled Monte Carlo pass depends on, besides values."""
    layers = [
        (
            id(layer),
            getattr(layer.dtype_policy, "name", None),
            layer.supports_masking,
            adapter_of(layer),
            attributes.of_layer(layer),
        )
        for layer in keras_graph.all_layers(model)
    ]
    # LoRA adds variables. JAX gets them in two lists, those to train and the
    # others, and would not notice that two of one shape changed places.
    variables = [
        (id(variable), variable.trainable) for variable in model.variables
    ]
    return layers, variables


def drawable_layers(model):
    """The layers that can draw, in the order that numbers them.

    Those at rate 0 included: a rate must not change what others draw.
    """
    return [layer for layer in keras_graph.all_layers(model) if can_draw(layer)]


def unknown_layers(model):
    """Layers that have random numbers of Keras and no adapter.

    Not counted are layers that hold one that can draw, whose numbers these
    may be, and augmentation, which is no part of the model's uncertainty.
    """
    holders = holders_of(model, drawable_layers(model))
    return [
        layer
        for layer in keras_graph.all_layers(model)
        if id(layer) not in holders
        and ".preprocessing." not in type(layer).__module__
        and (by_keras.generators(layer) or _wraps_dropout(layer))
    ]


def _wraps_dropout(layer):
    """Whether `layer` wraps a module of PyTorch with dropout in it."""
    if not isinstance(layer, keras.layers.TorchModuleWrapper):
        return False
    return any(
        "Dropout" in type(module).__name__ and getattr(module, "p", 0.0)
        for module in layer.module.modules()
    )


def holders_of(model, layers):
    """Ids of all layers of `model` that are or hold one of `layers`."""
    wanted = {id(layer) for layer in layers}
    # From the inside out, so that one round is enough where nothing is shared.
    found = [
        (id(layer), set(map(id, model_tree.sublayers(layer))))
        for layer in reversed(keras_graph.all_layers(model))
    ]
    holders, is_growing = set(), True
    while is_growing:
        size = len(holders)
        for own, held in found:
            if own in wanted or held & holders:
                holders.add(own)
        is_growing = len(holders) > size
    return holders


def is_traceable(model):
    """Whether each layer runs inside a function that JAX compiles.

    Augmentation says that it does not, and does where it changes nothing.
    """
    return all(
        layer.supports_jit or by_keras.is_augmentation(layer)
        for layer in keras_graph.all_layers(model)
    )


def draws_by_step(model):
    """Whether a layer draws in a loop over steps that Keras may vectorize.

    `TimeDistributed` is a loop of Python where the number of steps is known,
    and else a map, which would draw once for all steps.
    """
    loops = [
        layer
        for layer in keras_graph.all_layers(model)
        if registry.loop_of(layer) == registry.MAP
    ]
    return bool(loops) and any(map(drawable_layers, loops))


def may_draw(model):
    """Whether something in `model` may draw that is not known to."""
    return any(
        is_foreign(layer) or by_keras.generators(layer)
        for layer in keras_graph.all_layers(model)
        if ".preprocessing." not in type(layer).__module__
    )
