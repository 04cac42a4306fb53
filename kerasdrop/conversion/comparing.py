"""Compares a model that was rebuilt by code with the original."""

from collections.abc import Iterator

import keras
import numpy as np

from kerasdrop._adapters import adapters
from kerasdrop._adapters import drawing
from kerasdrop._adapters import registry
from kerasdrop._refusals import Refusal
from kerasdrop._structure import model_tree
from kerasdrop._types import Given
from kerasdrop.conversion.trying import Trial
from kerasdrop.layers.base import StochasticLayer

Pairs = list[tuple[keras.layers.Layer, keras.layers.Layer]]
_EPSILON = {"bfloat16": 2.0**-7, "float16": 2.0**-10}


def predictions(
    trial: Trial, copy: keras.Model, pairs: Pairs, may_draw: bool = True
) -> dict[str, str]:
    """Compares predictions if necessary; returns the notes for a report.

    It is not necessary if all layers are of Keras or of this package, because
    their configurations are complete.

    Args:
        may_draw: Whether the copy still draws in predictions, if the model
            does.

    Raises:
        Refusal: If the copy has other predictions.
    """
    if not any(adapters.runs_users_code(old) for old, _ in pairs):
        return {}
    off = trial.difference(copy)
    if off == 0.0:
        return {"predictions": "the same, bit for bit, of inputs tried"}
    if off <= _tolerance(pairs):
        said = f"the same, up to rounding by {off:.1g} of the largest"
        return {"predictions": said}
    if trial.is_random():
        if may_draw:
            return {"predictions": "not compared: the model draws in them, too"}
        raise Refusal(
            f"model '{copy.name}' draws in predictions too, because its code "
            "calls dropout with `training=True` or makes a layer that always "
            "draws. No model without dropout predicts the same. Let the code "
            "pass on the `training` that it is called with"
        )
    raise Refusal(
        f"model '{copy.name}', rebuilt from its configuration, has the same "
        f"weights, but does not predict the same: it is off by {off:.2g} "
        "of the largest output. Let the `get_config` of its classes return all "
        f"arguments of `__init__` (of {_foreign_classes(pairs)}), and do not "
        "change attributes afterwards; give no activation of yours the name of "
        "one of Keras', which takes its place; or make `kerasdrop.layers` in "
        "the code of these classes: weights files of the stock layers load as "
        "they are."
    )


def _tolerance(pairs: Pairs) -> float:
    """The tolerance relative to the largest output, for rounding.

    Layers of this package use the fused attention kernel where Keras' do not,
    and sum in another order in recurrent layers.
    """
    epsilon = max(_EPSILON.get(old.compute_dtype, 2.0**-23) for old, _ in pairs)
    is_other = any(
        registry.nearest_facts(type(layer)).drops_by_layer
        or registry.rates_inside(layer)
        for pair in pairs
        for layer in pair
    )
    return float(np.sqrt(epsilon)) if is_other else 32 * epsilon


def _foreign_classes(pairs: Pairs) -> str:
    names = {
        type(old).__name__ for old, _ in pairs if adapters.runs_users_code(old)
    }
    return ", ".join(sorted(names))


def arguments(pairs: Pairs) -> None:
    """Compares rates, noise shapes and dtypes, which predictions do not show.

    Raises:
        Refusal: If one is lost. The message has the layer and the right value.
    """
    for old, new in pairs:
        if type(old) is type(new) and old.dtype_policy != new.dtype_policy:
            # An outer policy does not determine it: quantized layers have a
            # map.
            if old.compute_dtype != new.compute_dtype:
                raise _lost(old, "dtype", old.compute_dtype, new.compute_dtype)
        if type(old) is type(new):
            continue
        for name, before, now in _numbers(old, new):
            if before != now:
                raise _lost(old, name, before, now)


def _numbers(old: Given, new: Given) -> Iterator[Given]:
    """Triples of a name, the old and the new value, for a layer and ours."""
    if registry.nearest_facts(type(new)).extends is not None:
        inside = filter(_is_ours, model_tree.sublayers(new))
        yield "dropout", registry.rates_inside(old), [d.rate for d in inside]
    elif isinstance(new, StochasticLayer) and adapters.adapter_of(old):
        rate = float(keras.ops.convert_to_numpy(drawing.rate_of(old)))
        is_near = np.isclose(rate, new.rate, rtol=1e-6, atol=0.0)
        yield "rate", rate, rate if is_near else new.rate
        for name in ("noise_shape", "data_format"):
            if hasattr(old, name) and hasattr(new, name):
                yield name, getattr(old, name), getattr(new, name)


def _is_ours(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, StochasticLayer)


def _lost(
    layer: keras.layers.Layer, name: str, before: Given, now: Given
) -> Refusal:
    return Refusal(
        f"layer '{layer.name}' ({model_tree.class_name(layer)}) has {name}="
        f"{before!r}, but {name}={now!r} when the model is rebuilt from "
        "its configuration. Let the `get_config` of the class that makes it "
        "return all arguments of `__init__`, and give rates there, not "
        "afterwards"
    )
