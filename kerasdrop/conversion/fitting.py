"""Makes the layer for a place, by the tensor or as the user says."""

import inspect

import keras
import numpy as np
from keras import ops

from kerasdrop import layers
from kerasdrop._adapters import adapters
from kerasdrop._adapters import registry
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import TypeRefusal
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.conversion import graphs
from kerasdrop.conversion.places import Place
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.layers.base import StochasticWrapper

# The classes by the number of axes.
_SPATIAL = {
    rank + 2: getattr(layers, f"SpatialDropout{rank}D") for rank in (2, 3)
}


def layer_at(
    place: Place, rate: float, layer: Given, name: str
) -> keras.layers.Layer:
    """A new layer for a place.

    Args:
        place: The `Place`.
        rate: Float in [0, 1], the rate of a layer that is made here.
        layer: As in `insert_dropout`.
        name: String, the name of a layer that is made here.

    Raises:
        Refusal: If no layer fits, or the given one does not.
    """
    made_by = place.graph.operation_behind(place.tensor)
    common = {"name": name, "dtype": _policy(made_by, place.tensor)}
    if place.is_identity:
        return keras.layers.Identity(**common)
    if not graphs.is_float(place.tensor):
        raise Refusal(
            f"'{made_by.name}' ({model_tree.class_name(made_by)}) makes "
            f"{place.tensor.dtype} numbers, which cannot be dropped. Choose a "
            "layer behind it that makes floating-point numbers, e.g. an "
            "`Embedding`"
        )
    if layer is None:
        cls, arguments = _fitting(place, made_by)
        return cls(rate, **arguments, **common)
    given = layer
    if isinstance(layer, keras.layers.Layer) or not callable(layer):
        raise TypeRefusal(
            "argument `layer` must be a class of layers, or a function of the "
            "layer that the new one stands behind, which makes one for each "
            "place, e.g. `lambda made_by: kerasdrop.layers.Dropout(0.1)`. "
            f"Received: {layer!r} (of type {type(layer).__name__})"
        )
    if not inspect.isclass(layer):
        given = layer(made_by)
    if inspect.isclass(given):
        given = _made(given, place, made_by, rate, common)
    _check(given, place, made_by)
    return given


def _policy(made_by: Given, tensor: Tensor) -> str:
    """The name of a dtype policy under which a tensor keeps its dtype.

    It is the policy of the layer that makes the tensor, if possible. A layer
    with another policy would cast the tensor.
    """
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    policy: Given = getattr(made_by, "dtype_policy", None)
    if type(policy) is keras.DTypePolicy and policy.compute_dtype == dtype:
        return policy.name
    return dtype


def _fitting(place: Place, made_by: Given) -> Given:
    """The class of this package for the shape of a tensor, with arguments."""
    rank = len(place.tensor.shape)
    if rank <= 2:
        return layers.Dropout, {}
    if rank == 3:
        if place.graph.data_format(place.tensor) == "channels_first":
            return layers.SpatialDropout1D, {"data_format": "channels_first"}
        return layers.LockedDropout, {}
    data_format = place.graph.data_format(place.tensor)
    if rank not in _SPATIAL or data_format is None:
        raise Refusal(
            f"which units of '{made_by.name}' "
            f"({model_tree.class_name(made_by)}) should be dropped together is "
            f"not known: it makes a tensor of shape {place.tensor.shape}, and "
            "no layer before or behind it shows where the channels are. Pass a "
            "layer, e.g. `layer=kerasdrop.layers.Dropout`, or "
            "`layer=lambda made_by: kerasdrop.layers.Dropout(0.1, "
            "noise_shape=...)`"
        )
    return _SPATIAL[rank], {"data_format": data_format}


def _made(
    cls: type, place: Place, made_by: Given, rate: float, common: Config
) -> keras.layers.Layer:
    """A layer of a class that was given."""
    arguments = {}
    if "data_format" in inspect.signature(cls).parameters:
        data_format = place.graph.data_format(place.tensor)
        if data_format is not None:
            arguments["data_format"] = data_format
    try:
        return cls(rate, **arguments, **common)
    except (TypeError, ValueError) as error:
        raise Refusal(
            f"argument `layer`: {cls.__name__} cannot be made by "
            f"`{cls.__name__}(rate, name=..., dtype=...)`: {error}. Pass a "
            "function of the layer that it stands behind, e.g. "
            f"`layer=lambda made_by: {cls.__name__}(...)`"
        ) from error


def _check(layer: Given, place: Place, made_by: Given) -> None:
    """Refuses a layer that would change predictions, or does not draw."""
    if not isinstance(layer, keras.layers.Layer):
        raise Refusal(
            "argument `layer` must be a class of layers, or a function of the "
            "layer that the new one stands behind, which returns a class or a "
            f"layer. Received, behind '{made_by.name}': {layer!r} (of type "
            f"{type(layer).__name__})"
        )
    why = _why_not(layer) or _why_it_changes(layer, place.tensor)
    if why:
        raise Refusal(
            f"argument `layer`: {type(layer).__name__} behind "
            f"'{made_by.name}' is refused, because {why}"
        )


def _why_not(layer: keras.layers.Layer) -> str:
    if isinstance(layer, StochasticWrapper):
        return (
            "it is a wrapper around a layer, which cannot be inserted by "
            "itself. Use `kerasdrop.layers.Dropout`"
        )
    if isinstance(layer, StochasticLayer):
        if layer._scales_at_inference():
            return (
                "it multiplies by `1 - rate` at inference, so the predictions "
                "of the model would change. Use a layer that scales in "
                "training, e.g. `kerasdrop.layers.Dropout`"
            )
        if layer.stochastic_inference:
            return (
                "it draws at inference too, so `predict` would be random. Use "
                "`kerasdrop.layers.Dropout`; `mc_predict` draws its masks"
            )
        return ""
    if not adapters.can_draw(layer):
        return (
            "it is not known to draw. Use a layer of kerasdrop or Keras that "
            "drops or adds noise, or register how this one draws, with "
            "`kerasdrop.register_stochastic`"
        )
    return ""


def _why_it_changes(layer: keras.layers.Layer, tensor: Tensor) -> str:
    """Tests a layer of another class by a call on random numbers."""
    facts = registry.facts_of(type(layer)) or registry.NOTHING
    if isinstance(layer, StochasticLayer) or facts.is_identity:
        return ""
    shape = [2 if size is None else size for size in tensor.shape]
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    x = ops.cast(np.random.default_rng(0).normal(size=shape), dtype)
    try:
        made = layer(x, training=False)
    except Exception as error:  # a user's layer may raise any class
        return f"it cannot be called on a tensor of shape {shape}: {error}"
    if layer.weights:
        return "it has weights, for which the original has none"
    same = (
        ops.is_tensor(made)
        and tuple(made.shape) == tuple(shape)
        and keras.backend.standardize_dtype(made.dtype) == dtype
        and bool(ops.all(ops.equal(made, x)))
    )
    return "" if same else "it changes its inputs at inference"
