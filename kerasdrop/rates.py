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

    Layers inside other layers and models, subclassed ones too, are found if
    Keras knows them: they were assigned to an attribute.

    Args:
        model: A `keras.Model`, or any layer.

    Returns:
        Dict from path to rate, a float. A path joins the names of the layers
        on the way from the model down: `"encoder/drop_1"`. If a layer holds
        two of the same name, the second path ends in `"#2"`. A layer that is
        shared appears once, where it is found first.

    Raises:
        ValueError: If the model has no layer of `kerasdrop`.
        TypeError: If `model` is no layer.
        RuntimeError: On JAX, in a callback that has not touched `self.model`
            in this batch: the rates cannot be read there.

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

    Takes effect at once, in compiled functions too, without a retrace. Either
    every selected layer is set or, after an error, none.

    Args:
        model: A `keras.Model`, or any layer.
        rate: Float in [0, 1]. Or a dict from path, name or pattern to float,
            as `get_rates` returns it; each of its keys must select a layer,
            and no layer may be selected by two of them.
        layers: Which layers:

            - None: all of kerasdrop. A stock dropout layer beside them is an
              error, since it can be converted; of subclasses of one, which
              keep their rates, a warning tells.
            - A string: a path, as in `get_rates`; else a layer's name,
              wherever it is; else a pattern (`*`, `?`, `[...]`) for the path
              or the name. `*` matches `/` as well: `"encoder/*"`. The name of
              a layer that contains others stands for all of them: `"encoder"`.
            - A layer of the model; again, with all that it contains.
            - A function of a layer that returns whether to select it. It is
              asked about dropout layers only.
            - A list or tuple of these: what any of them selects.

    Raises:
        ValueError: If the rate is not in [0, 1]; if nothing is selected; if a
            selected layer follows a schedule, or is a stock Keras layer
            (whose rate a compiled function would not read again).
        TypeError: If `model` is no layer, or `layers` none of the above.
        RuntimeError: On JAX, in a callback that has not touched `self.model`
            in this batch: what is set there would be lost.

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
    """What `set_rates` would set, checked without a look at any state.

    Args, raises: As `set_rates`.

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
    """Sets the rates that `assignments` found: all, or after an error none."""
    for layer, _ in found:
        # On JAX, inside an epoch: the layer says what to do.
        _ = layer.rate
    for layer, number in found:
        layer.rate = number


def settable_layers(model: keras.Model, layers: Given, owner: str) -> Found:
    """The layers whose rates `set_rates` would set, for repeated setting.

    Args, raises: As `set_rates`.
        owner: Who asks, for the messages: its argument is `layers`, too.

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
    """Every dropout layer, stock ones too, as (path, layer); ours among them.

    Raises if there is none of ours.
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

    None selects what is ours, and what should be.
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
    """Tells of stock layers that "all layers" cannot mean."""
    others = [
        (path, layer)
        for path, layer in candidates
        if not isinstance(layer, StochasticLayer)
    ]
    if others:
        warnings.warn(
            f"{owner}: these layers keep their rates, for the rate of a stock "
            "layer is fixed once a function is compiled, and no layer of "
            "kerasdrop can take their place:\n"
            f"{model_tree.listing(others)}\nIf that is meant, name the "
            f"others: {_call_for_ours(candidates, owner)}.",
            stacklevel=4,
        )


def _call_for_ours(candidates: Found, owner: str) -> str:
    paths = [path for path, _ in _ours(candidates)]
    return f"`{owner}(..., layers={paths!r})`"
