"""Makes the stock dropout layers of a model ours."""

from typing import NamedTuple

import keras

from kerasdrop._adapters import registry
from kerasdrop._structure import model_tree
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.conversion import copying
from kerasdrop.conversion.reports import ConversionReport
from kerasdrop.layers.base import StochasticLayer


class Conversion(NamedTuple):
    """A new model, and the report of what was converted and what was not.

    Attributes:
        model: The new `keras.Model`.
        report: A `ConversionReport`; printed, it is a table.

    Example:

    >>> stock = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dropout(0.5, name="drop")]
    ... )
    >>> conversion = kerasdrop.convert_dropout(stock)
    >>> kerasdrop.get_rates(conversion.model)
    {'drop': 0.5}
    """

    model: keras.Model
    report: ConversionReport


def convert_dropout(model: keras.Model) -> Conversion:
    """A copy of a model in which stock dropout layers are ours.

    Every `keras.layers.Dropout` becomes a `kerasdrop.layers.Dropout` of the
    same rate, noise shape, seed, name and dtype policy, and so do
    `SpatialDropout1D`, `2D` and `3D`, `AlphaDropout` and `GaussianDropout`,
    and, if they drop weights, `MultiHeadAttention` and `GroupQueryAttention`:
    in the model, in functional and sequential models inside it, and in layers
    that are configured with it (`TimeDistributed(Dropout(...))`). Predictions
    stay the same; in training other units are dropped, as often.

    The new model has its own layers and a copy of all weights. It shares
    nothing with `model`, which stays as it is. Layers of kerasdrop that are
    already there keep their rate, step and masks; the seed generators of
    other layers and the states of stateful recurrent layers start anew. The
    new model is not compiled: call `compile` again, with a new optimizer.

    Args:
        model: A built functional or sequential model.

    Returns:
        A `Conversion`, a named tuple of

        - `model`: the new model;
        - `report`: its `converted` and `skipped` are dicts from a layer's
          path to an explanation; printed, it is a table. What draws and could
          not be reached is in `skipped`: dropout inside recurrent layers, in
          subclassed layers and models, subclasses of the layers of Keras.

    Raises:
        ValueError: If there is nothing to convert, if the model is not built
            or is a subclassed model, if one of its layers cannot be rebuilt
            from its configuration, or if two of them use one variable.
        TypeError: If `model` is not a `keras.Model`.

    Example:

    >>> stock = keras.Sequential(
    ...     [keras.Input((4,)), keras.layers.Dropout(0.5, name="drop")]
    ... )
    >>> model, report = convert_dropout(stock)
    >>> print(report)
    converted  drop  keras.layers.Dropout -> kerasdrop.layers.Dropout
    """
    copying.check_copyable(
        model,
        "convert_dropout",
        "Replace `keras.layers.Dropout` by `kerasdrop.layers.Dropout` there; "
        "checkpoints of the stock layer load as they are.",
    )
    if not any(is_convertible(layer) for _, layer in model_tree.walk(model)):
        raise _nothing_to_convert(model)
    new_model, pairs = copying.copy_model(model, _counterpart)
    report = _report(model, pairs)
    if not report.converted:
        raise _nothing_to_convert(model)
    return Conversion(new_model, report)


def is_convertible(layer: keras.layers.Layer) -> bool:
    """Whether a layer of kerasdrop can take this one's place."""
    if is_attention_without_dropout(layer):
        return False
    return _counterpart_class(type(layer)) is not None


def is_attention_without_dropout(layer: keras.layers.Layer) -> bool:
    """Whether a layer is attention of Keras whose rate is 0.

    Keras makes a dropout layer for it all the same, and does not call it.
    """
    facts = registry.facts_of(type(layer))
    return bool(facts and facts.drops_by_layer) and layer.dropout == 0.0


def _counterpart_class(cls: type) -> Given:
    """The class of ours for a class of Keras, or None.

    Subclasses are left alone: what they override would be lost.
    """
    facts = registry.facts_of(cls)
    return None if facts is None else facts.counterpart


def _counterpart(
    layer: keras.layers.Layer, copy: Function
) -> keras.layers.Layer | None:
    """What a layer of the graph becomes, or None if it just is copied."""
    if is_convertible(layer):
        # Spatial dropout leaves all but a dtype of its policy out.
        config = {**layer.get_config(), "dtype": layer.dtype_policy}
        return _counterpart_class(type(layer)).from_config(config)
    holds_one = isinstance(layer, keras.layers.Layer) and any(
        is_convertible(inner) for _, inner in model_tree.walk(layer)
    )
    if holds_one:
        try:
            config = layer.get_config()
        except NotImplementedError:
            return None
        return copying.rebuild(layer, _converted_config(config))
    return None


def _converted_config(config: Config | None) -> Given:
    """A configuration, with serialized stock dropout layers made ours."""
    if isinstance(config, (list, tuple)):
        return type(config)(_converted_config(item) for item in config)
    if not isinstance(config, dict):
        return config
    cls = copying.serialized_class(config)
    ours = None if cls is None else _counterpart_class(cls)
    # Of attention, the rate.
    if ours is not None and config["config"].get("dropout") != 0.0:
        return copying.serialized_in_place(
            ours.from_config(config["config"]), config
        )
    return {key: _converted_config(value) for key, value in config.items()}


def _report(
    model: keras.Model,
    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]],
) -> ConversionReport:
    is_converted = {
        id(old): type(new) is _counterpart_class(type(old))
        for old, new in pairs
        if is_convertible(old)
    }
    found = dict(model_tree.walk(model))
    converted = {}
    skipped = {}
    for path, layer in found.items():
        if is_converted.get(id(layer)):
            ours = _counterpart_class(type(layer))
            converted[path] = (
                f"{model_tree.class_name(layer)} -> "
                f"kerasdrop.layers.{ours.__name__}"
            )
            continue
        owner = found.get(path.rpartition("/")[0])
        if not is_converted.get(id(owner)):
            reason = _why_skipped(layer, owner)
            if reason is not None:
                skipped[path] = reason
    return ConversionReport(converted, skipped)


def _why_skipped(layer: keras.layers.Layer, owner: Given) -> Given:
    """The reason, or None for a layer that is none of our business."""
    name = model_tree.class_name(layer)
    if is_convertible(layer):
        return (
            f"{name} that '{owner.name}' ({type(owner).__name__}) makes itself"
        )
    if registry.is_stock_dropout(layer):
        return f"{name} is a subclass, what it overrides would be lost"
    if registry.drops_in_its_call(layer) and not _is_cell_of(layer, owner):
        rates = {
            name: getattr(layer, name, 0.0)
            for name in ("dropout", "recurrent_dropout")
        }
        if any(rates.values()):
            listed = ", ".join(f"{key}={rates[key]}" for key in rates)
            return f"{name} drops units inside its own call ({listed})"
    return None


def _is_cell_of(
    layer: keras.layers.Layer, owner: keras.layers.Layer | None
) -> bool:
    """Whether a recurrent layer has been asked already, for its cell."""
    return owner is not None and (
        registry.is_around_cell(owner) and owner.cell is layer
    )


def _nothing_to_convert(model: keras.Model) -> Given:
    found = dict(model_tree.walk(model))
    lines = []
    for path, layer in found.items():
        owner = found.get(path.rpartition("/")[0])
        reason = _why_skipped(layer, owner)
        if isinstance(layer, StochasticLayer):
            reason = f"{type(layer).__name__} is a layer of kerasdrop already"
        if reason is not None:
            lines.append(f"  {path}: {reason}")
    listed = "\n".join(lines) or "  nothing that drops units"
    return ValueError(
        f"convert_dropout: model '{model.name}' has no dropout layer of Keras "
        f"that can be converted. Found:\n{listed}\nUse the model as it is, or "
        "build it with `kerasdrop.layers`."
    )
