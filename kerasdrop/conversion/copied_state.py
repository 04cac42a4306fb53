"""Copies the weights and the state of a layer, beside its configuration."""

import tempfile
from collections.abc import Iterator

import keras
import numpy as np

from kerasdrop._adapters import registry
from kerasdrop._structure import model_tree
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop.conversion import graphs
from kerasdrop.conversion import lora
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.layers.base import StochasticWrapper


def copy(
    original: keras.Operation, duplicate: keras.Operation
) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Copies everything outside configurations; returns the pairs."""
    if not isinstance(original, keras.layers.Layer):
        return []  # an operation of `keras.ops`
    if graphs.is_graph(original):
        _copy_trainable(original, duplicate)
        duplicate.dtype_policy = original.dtype_policy
        return [(original, duplicate)]
    if graphs.is_graph(duplicate):  # its layers are copies already
        _copy_trainable(original, duplicate)
        return [(original, duplicate)]
    # The values go through NumPy arrays, because two models must not share a
    # JAX buffer, which training donates.
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
    """Raises if a weight changed its values, because its dtype differs."""
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
    """A layer and all layers inside it, each with its copy."""
    return list(_pairs(original, duplicate, set(), []))


def _pairs(
    original: keras.layers.Layer,
    duplicate: keras.layers.Layer,
    seen: set[Given],
    released: list[Given],
) -> Iterator[Given]:
    """As `_paired`; lists wrappers whose copies are their inner layers."""
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
        # One layer is Keras', the other ours, so their dropout layers differ.
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
    """Whether the copy of a wrapper is only the copy of its inner layer."""
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


def left_out(pairs: Given) -> set[int]:
    """Ids of the weights of layers that became models of their contents."""
    left_out = set()
    for original, duplicate in pairs:
        if graphs.is_graph(duplicate) and not graphs.is_graph(original):
            inside = model_tree.sublayers(original)
            kept = {id(weight) for layer in inside for weight in layer.weights}
            left_out |= {id(weight) for weight in original.weights} - kept
        elif isinstance(original, keras.layers.Layer) and not graphs.is_graph(
            duplicate
        ):
            left_out |= _weights_of_released(original, duplicate)
    return left_out


def check_weights_are_not_tied(
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
    """Copies state that only files contain, such as a learned vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        original.save_assets(folder)
        duplicate.load_assets(folder)


def _copy_trainable(
    original: keras.layers.Layer, duplicate: keras.layers.Layer
) -> None:
    if duplicate.trainable != original.trainable:
        duplicate.trainable = original.trainable
