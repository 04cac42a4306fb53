"""Draws for layers of Keras that are one function of their inputs."""

import inspect
from typing import NamedTuple

import keras
from keras import ops

from kerasdrop import functional
from kerasdrop import masks
from kerasdrop._adapters import rnn_cells
from kerasdrop._structure import keras_graph
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.masks.scopes import StochasticScope


class Adapter(NamedTuple):
    """How layers of one class draw.

    Attributes:
        methods: Function of a layer that returns replacements for its methods,
            by name: functions of (the method, the layer, the scope, *its
            arguments).
        rate: Function of a layer that returns a number, which is 0 if and only
            if the layer would draw nothing.
        is_by_keras: Whether it draws from Keras' generators, with seeds of the
            pass.
        takes_rate: Whether it can draw at a rate that is given for a pass.
    """

    methods: Function
    rate: Function
    is_by_keras: bool = False
    takes_rate: bool = True


def rate_of(layer: keras.layers.Layer) -> float:
    """The attribute of a layer that is its rate; raises if there is none."""
    for name in ("rate", "drop_prob", "drop_path_rate"):
        if hasattr(layer, name):
            return getattr(layer, name)
    raise ValueError(
        f"Layer '{layer.name}' ({type(layer).__name__}) has no attribute "
        "`rate`. Say where its rate is: `register_stochastic(cls, "
        "function, rate=lambda layer: ...)`."
    )


def by_function(function: Function, rate: Function = rate_of) -> Adapter:
    """Makes an adapter for a layer that is one function of its inputs.

    Args:
        function: Function of (layer, draw, inputs) or of (layer, draw, inputs,
            rate).
        rate: Function of a layer that returns its rate.
    """
    takes_rate = "rate" in inspect.signature(function).parameters

    def call(
        plain: Function,
        layer: keras.layers.Layer,
        scope: StochasticScope,
        inputs: Structure,
        *args: Given,
        **kwargs: Given,
    ) -> Given:
        draw = scope.draw(layer)
        if not takes_rate:
            return function(layer, draw, inputs)
        given = scope.rate_of(layer)
        return function(
            layer, draw, inputs, rate=rate(layer) if given is None else given
        )

    return Adapter(lambda layer: {"call": call}, rate, takes_rate=takes_rate)


def rate_tensor(rate: float) -> Tensor:
    return ops.convert_to_tensor(rate, "float32")


def _dropout(
    layer: keras.layers.Layer, draw: masks.Draw, inputs: Structure, rate: Given
) -> Given:
    rate = rate_tensor(rate)
    return functional.dropout(inputs, draw, rate, layer.noise_shape)


def _spatial_dropout(
    layer: keras.layers.Layer, draw: masks.Draw, inputs: Structure, rate: Given
) -> Given:
    # The layer for one dimension has no data format.
    data_format = getattr(layer, "data_format", "channels_last")
    noise_shape = functional.by_channel(inputs, data_format)
    return functional.dropout(inputs, draw, rate_tensor(rate), noise_shape)


def _alpha_dropout(
    layer: keras.layers.Layer, draw: masks.Draw, inputs: Structure, rate: Given
) -> Given:
    rate = rate_tensor(rate)
    return functional.alpha_dropout(inputs, draw, rate, layer.noise_shape)


def _gaussian_dropout(
    layer: keras.layers.Layer, draw: masks.Draw, inputs: Structure, rate: Given
) -> Given:
    return functional.gaussian_dropout(inputs, draw, rate_tensor(rate))


def _gaussian_noise(
    layer: keras.layers.Layer, draw: masks.Draw, inputs: Structure, rate: Given
) -> Given:
    return functional.gaussian_noise(inputs, draw, rate)


def _drop_path(
    layer: keras.layers.Layer, draw: masks.Draw, inputs: Structure, rate: Given
) -> Given:
    """Drops the residual branch of a row, as in the layer's paper."""
    rate = rate_tensor(rate)
    if getattr(layer, "scale_by_keep", True):
        return functional.drop_path(inputs, draw, rate)
    # Unlike classic dropout, it does not scale at inference.
    rate = masks.unless_all_is_kept(draw, rate, 0.0)
    return functional.drop_path(inputs, draw, rate, "classic")


def _attention(
    plain: Function,
    layer: keras.layers.Layer,
    scope: StochasticScope,
    inputs: Structure,
    mask: Tensor = None,
    **kwargs: Given,
) -> Given:
    """Drops attention weights; the stock layer returns them undropped."""
    wants_scores = kwargs.pop("return_attention_scores", False)
    kwargs["training"] = False
    with keras_graph.forgetting_scores(layer):
        _, weights = plain(inputs, mask, return_attention_scores=True, **kwargs)
    given = scope.rate_of(layer)
    rate = rate_tensor(layer.dropout) if given is None else given
    weights = functional.dropout(weights, scope.draw(layer), rate)
    result = ops.matmul(weights, inputs[1])
    if mask is not None and mask[0] is not None:
        # Padded queries attend to nothing.
        result = ops.where(ops.expand_dims(mask[0], axis=-1), result, 0)
    return (result, weights) if wants_scores else result


DROPOUT = by_function(_dropout)
SPATIAL_DROPOUT = by_function(_spatial_dropout)
ALPHA_DROPOUT = by_function(_alpha_dropout)
GAUSSIAN_DROPOUT = by_function(_gaussian_dropout)
GAUSSIAN_NOISE = by_function(_gaussian_noise, lambda layer: layer.stddev)
DROP_PATH = by_function(_drop_path)
ATTENTION = Adapter(
    lambda layer: {"call": _attention}, lambda layer: layer.dropout
)
CELL = Adapter(rnn_cells.methods, rnn_cells.rate)
