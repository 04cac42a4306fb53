"""Reads and sets the rates of all dropout layers of a model."""

import warnings

import keras

from kerasdrop import _checks
from kerasdrop._adapters import registry
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import TypeRefusal
from kerasdrop._refusals import blame
from kerasdrop._refusals import received_model
from kerasdrop._structure import model_tree
from kerasdrop._structure import selection
from kerasdrop._types import Found
from kerasdrop._types import Given
from kerasdrop.conversion import counterparts
from kerasdrop.layers.base import StochasticLayer

__all__ = ["get_rates", "set_rates"]

_CONVERT = "`model, report = kerasdrop.convert_dropout(model)`"


def get_rates(model: keras.Model) -> dict[str, float]:
    """The current rate of each `kerasdrop` layer of a model.

    Layers inside other layers and models, also subclassed ones, are found if
    Keras tracks them, that is, if they were assigned to an attribute.

    Args:
        model: A `keras.Model`, or any layer.

    Returns:
        Dict from path to rate, a float. A path joins the names of the layers
        from the model down to the layer: `"encoder/drop_1"`. If a layer
        contains two layers of the same name, the second path ends in `"#2"`. A
        shared layer appears once, where it is found first.

    Raises:
        ValueError: If the model has no layer of `kerasdrop`.
        TypeError: If `model` is not a layer.
        RuntimeError: On JAX, in a callback that has not accessed `self.model`
            in this batch, because the rates cannot be read there.

    Example:

    >>> get_rates(model)
    {'dropout': 0.5}
    """
    with blame("get_rates"):
        found = live_layers(model)
    return {path: layer.rate for path, layer in found}


def set_rates(
    model: keras.Model, rate: float | dict[str, float], layers: Given = None
) -> None:
    """Sets the rate of some or all `kerasdrop` layers of a model.

    The change takes effect at once, also in compiled functions, without a
    retrace. Either all selected layers are set or, after an error, none.

    Args:
        model: A `keras.Model`, or any layer.
        rate: Float in [0, 1]; or a dict from path, name or pattern to float, as
            `get_rates` returns it. Each key of the dict must select a layer,
            and no two keys may select the same layer.
        layers: The layers to set:

            - None: all layers of kerasdrop. If the model also has stock dropout
              layers, which can be converted, this raises an error. For
              subclasses of stock layers, which keep their rates, it warns.
            - A string: a path, as in `get_rates`; otherwise the name of a
              layer, wherever it is; otherwise a pattern (`*`, `?`, `[...]`)
              for the path or the name. `*` also matches `/`: `"encoder/*"`. The
              name of a layer that contains others selects all of them:
              `"encoder"`.
            - A layer of the model, with all layers that it contains.
            - A function of a layer that returns whether to select it. It is
              called for dropout layers only.
            - A list or tuple of these, which selects what any of them selects.

    Raises:
        ValueError: If the rate is not in [0, 1]; if nothing is selected; if a
            selected layer follows a schedule, or is a stock Keras layer
            (whose rate a compiled function would not read again).
        TypeError: If `model` is not a layer, or `layers` none of the above.
        RuntimeError: On JAX, in a callback that has not accessed `self.model`
            in this batch, because the new rates would be lost.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         kerasdrop.layers.Dropout(0.5, name="early"),
    ...         kerasdrop.layers.Dropout(0.5, name="late"),
    ...     ]
    ... )
    >>> set_rates(model, 0.25, layers="e*")
    >>> get_rates(model)
    {'early': 0.25, 'late': 0.5}
    """
    assign(assignments(model, rate, layers))


def assignments(
    model: keras.Model, rate: float | dict[str, float], layers: Given = None
) -> list[tuple[keras.layers.Layer, float]]:
    """The rates that `set_rates` would set, checked without reading state.

    Arguments and errors are those of `set_rates`.

    Returns:
        List of (layer, rate).
    """
    owner = "set_rates"
    with blame(owner):
        candidates = _candidates(model)
        if isinstance(rate, dict):
            found = _assignments_of_dict(model, candidates, rate, layers)
        else:
            number = _checks.rate_to_set(rate)
            found = [
                (path, layer, number)
                for path, layer in _select(model, candidates, layers)
            ]
        for path, layer, number in found:
            _check_settable(candidates, path, layer, number, owner)
    if layers is None and not isinstance(rate, dict):
        _warn_of_others(candidates, owner)
    return [(layer, number) for _, layer, number in found]


def assign(found: list[tuple[keras.layers.Layer, float]]) -> None:
    """Sets the rates that `assignments` found: all or, after an error, none."""
    for layer, _ in found:
        # On JAX, inside an epoch: the layer says what to do.
        _ = layer.rate
    for layer, number in found:
        layer.rate = number


def settable_layers(model: keras.Model, layers: Given, owner: str) -> Found:
    """The layers whose rates `set_rates` would set, for repeated setting.

    Arguments and errors are those of `set_rates`, and `owner` is the name of
    the caller for messages, whose argument is called `layers` too.

    Returns:
        List of (path, layer).
    """
    with blame(owner):
        candidates = _candidates(model)
        selected = _select(model, candidates, layers)
        for path, layer in selected:
            _check_settable(candidates, path, layer, layer.rate, owner)
    if layers is None:
        _warn_of_others(candidates, owner)
    return selected


def live_layers(model: keras.Model) -> Found:
    """The layers of kerasdrop in a model: list of (path, layer), or raises."""
    return _ours(_candidates(model))


def _candidates(model: keras.Model) -> Found:
    """Every dropout layer, stock ones too, as (path, layer).

    Raises an error if none of them is a layer of kerasdrop.
    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeRefusal(
            "argument `model` must be a `keras.Model` or a layer. "
            f"{received_model(model)}"
        )
    found = [(model.name, model), *model_tree.walk(model)]
    inert = {
        id(inner)
        for _, layer in found
        if registry.is_attention_without_dropout(layer)
        for _, inner in model_tree.walk(layer)
    }
    candidates = [
        (path, layer)
        for path, layer in found
        if isinstance(layer, StochasticLayer)
        or (registry.is_stock_dropout(layer) and id(layer) not in inert)
    ]
    if not _ours(candidates):
        raise Refusal(
            f"the model has no layer of kerasdrop. Stock dropout "
            f"layers in it:\n{model_tree.listing(candidates)}\nMake "
            f"them ours with {_CONVERT}, or build the model with "
            "`kerasdrop.layers`."
        )
    return candidates


def _ours(candidates: Found) -> Found:
    return [
        (path, layer)
        for path, layer in candidates
        if isinstance(layer, StochasticLayer)
    ]


def _assignments_of_dict(
    model: keras.Model,
    candidates: Found,
    rates: dict[str, float],
    layers: Given,
) -> Given:
    if layers is not None:
        raise Refusal(
            f"with a dict of rates, its keys select the layers; "
            f"leave `layers` out. Received: rate={rates!r}, layers={layers!r}"
        )
    if not rates:
        raise Refusal(
            "argument `rate` is an empty dict, which sets nothing; "
            "pass a number to set all layers. Received: rate={}"
        )
    key_of_path: dict[str, Given] = {}
    assignments = []
    for key, value in rates.items():
        number = _checks.rate_to_set(value)
        named = selection.selected(model, candidates, key, is_key=True)
        for path, layer in named:
            if path in key_of_path:
                raise Refusal(
                    f"the keys {key_of_path[path]!r} and {key!r} "
                    f"both select layer '{path}'. Narrow one of them, or call "
                    f"`set_rates` twice. Received: rate={rates!r}"
                )
            key_of_path[path] = key
            assignments.append((path, layer, number))
    return assignments


def _select(model: keras.Model, candidates: Found, selector: Given) -> Found:
    """The candidates that a selector names, in the model's order; or raises.

    None selects layers of kerasdrop, and those that could become some.
    """
    if selector is None:
        selector = _is_or_should_be_ours
    return selection.selected(model, candidates, selector)


def _is_or_should_be_ours(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, StochasticLayer) or counterparts.is_convertible(
        layer
    )


def _check_settable(
    candidates: Found,
    path: str,
    layer: keras.layers.Layer,
    number: int,
    owner: str,
) -> None:
    if not isinstance(layer, StochasticLayer):
        remedy = "No layer of kerasdrop can take its place."
        if counterparts.is_convertible(layer):
            remedy = f"Make it ours with {_CONVERT}."
        raise Refusal(
            f"layer '{path}' is a {model_tree.class_name(layer)}, "
            f"whose rate is fixed once a function is compiled. {remedy} To "
            f"leave it as it is: {_call_for_ours(candidates, owner)}."
        )
    layer.checked_rate(number)  # the layer refuses, with the fix


def _warn_of_others(candidates: Found, owner: str) -> None:
    """Warns of stock layers that "all layers" cannot include."""
    others = [
        (path, layer)
        for path, layer in candidates
        if not isinstance(layer, StochasticLayer)
    ]
    if others:
        warnings.warn(
            f"{owner}: these layers keep their rates, because the rate of a "
            "stock layer is fixed once a function is compiled, and no layer "
            "of kerasdrop can replace them:\n"
            f"{model_tree.listing(others)}\nIf this is intended, name the "
            f"others: {_call_for_ours(candidates, owner)}.",
            stacklevel=4,
        )


def _call_for_ours(candidates: Found, owner: str) -> str:
    paths = [path for path, _ in _ours(candidates)]
    return f"`{owner}(..., layers={paths!r})`"
