"""Checks the preconditions of a Monte Carlo pass before it begins."""

import warnings
from collections.abc import Iterable

import keras

from kerasdrop import _refusals
from kerasdrop._adapters import adapters
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import random_functions
from kerasdrop._adapters import registry
from kerasdrop._adapters import rnn_cells
from kerasdrop._adapters import rnn_loops
from kerasdrop._adapters import survey
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import received_model
from kerasdrop._structure import keras_graph
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.inspection import listing
from kerasdrop.montecarlo.settings import Settings


def check_model(model: keras.Model) -> None:
    """Refuses what is not a built model whose rows can be sampled."""
    if not isinstance(model, keras.Model):
        raise Refusal(
            f"argument `model` must be a Keras model. {received_model(model)}"
        )
    if not model.built:
        raise Refusal(
            f"model '{model.name}' is not built, so its layers are "
            "not known yet. Call it on a batch first, or start it with a "
            "`keras.Input`."
        )
    _check_without_state(model)


def _check_without_state(model: keras.Model) -> None:
    """Refuses a model whose recurrent layers keep a state between batches."""
    stateful = [
        layer.name
        for _, layer in survey.of(model).layers
        if rnn_loops.is_stateful(layer)
    ]
    if stateful:
        raise Refusal(
            "a stateful recurrent layer carries the state of one "
            "row of a batch to the next batch, and has none for the samples "
            "of a row. Make the model without `stateful=True` and load its "
            f"weights. Received: model '{model.name}' with "
            f"{', '.join(map(repr, stateful))}"
        )


def check_noise_shapes(layers: Iterable[keras.layers.Layer]) -> None:
    """Refuses layers whose masks are for another number of rows."""
    for layer in layers:
        _check_noise_shape(layer)


def _check_noise_shape(layer: keras.layers.Layer) -> None:
    noise_shape = getattr(layer, "noise_shape", None)
    if noise_shape is None or noise_shape[:1] in ((), (1,), (None,)):
        return
    if None not in noise_shape:
        return  # it may be for the last axes: the pass checks
    raise Refusal(
        f"layer '{layer.name}' ({type(layer).__name__}) has "
        f"noise_shape={noise_shape}, which "
        f"{_refusals.of_fixed_rows(noise_shape)}"
    )


def _check_overrides(layer: keras.layers.Layer) -> None:
    names = adapters.overrides(layer)
    if names:
        raise Refusal(
            f"layer '{layer.name}' ({type(layer).__name__}) is of a subclass "
            "of a Keras class that draws, and overrides "
            f"{', '.join(f'`{name}`' for name in names)}, so it is not known "
            "how it draws. Register that: `kerasdrop.register_stochastic("
            f"{type(layer).__name__}, function)`."
        )


def check_saveable(model: keras.Model) -> None:
    cls = type(model)
    known = keras.saving.get_registered_object(
        keras.saving.get_registered_name(cls)
    )
    if known is not cls and not cls.__module__.startswith("keras."):
        raise Refusal(
            f"the class {cls.__name__} of model '{model.name}' is "
            "not registered, so a saved file could not be loaded. Decorate it "
            "with "
            '`@keras.saving.register_keras_serializable("my_project")`.'
        )


def warn_of_what_is_left_out(found: survey.Survey, owner: str) -> None:
    """Warns about layers that may not draw here, and about users' steps.

    Args:
        found: The `Survey` of the model.
        owner: The public function that a warning names.
    """
    model = found.model
    if found.unknown:
        listed = ", ".join(map(_with_random_function, found.unknown))
        warnings.warn(
            f"{owner}: these layers of model '{model.name}' have random "
            f"numbers of their own: {listed}. If they draw at inference, Keras "
            "draws for each sample. If they draw in training only, they do not "
            "draw here; to change that, use `kerasdrop.register_stochastic`.",
            stacklevel=3,
        )
    if type(model).predict_step is not keras.Model.predict_step:
        warnings.warn(
            f"{owner}: `predict` of model '{model.name}' runs the "
            f"`predict_step` of {type(model).__name__}. The samples are calls "
            "of the model without it. If it changes outputs, let `call` do so, "
            "or a model around this one.",
            stacklevel=3,
        )


def _with_random_function(layer: keras.layers.Layer) -> str:
    function = random_functions.called_by(layer)
    by = f" by `{function}`" if function else ""
    return f"'{layer.name}' ({type(layer).__name__}){by}"


def check_draws(
    found: survey.Survey, settings: Settings, choice: choices.Choice
) -> None:
    """Refuses the model of a `Survey` if nothing would be drawn correctly.

    Args:
        found: The `Survey`.
        settings: `Settings`.
        choice: The `choice.Choice` of what is drawn.
    """
    model = found.model
    layers = list(filter(choice.of_layer, found.drawable))
    drawn = [
        layer
        for layer in layers
        if choice.is_given(layer) or choice.rate_of(layer) > 0.0
    ]
    if settings.vectorized:
        check_noise_shapes(layers)
    for layer in drawn:
        if adapters.is_by_keras(layer):
            by_keras.check(layer, settings.plan)
        elif registry.is_cell(layer):
            rnn_cells.check(layer, choice.parts_of(layer))
        elif isinstance(layer, StochasticLayer):
            layer._check_drawing()
        _check_overrides(layer)
    if drawn:
        return
    if layers and choice.paths is not None:
        raise Refusal(
            f"none of the selected layers of model '{model.name}' would draw: "
            f"the rate of {', '.join(map(repr, choice.paths))} is 0. Pass a "
            "rate, e.g. `rate=0.2`, or select other layers.\n"
            + listing.table(found, choice)
        )
    if layers:
        raise Refusal(
            f"no layer of model '{model.name}' would draw: the rate of each "
            "layer that can draw is 0. Pass a rate for this call, e.g. "
            "`rate=0.1`.\n" + listing.table(found, choice)
        )
    cure = (
        "Add dropout, e.g. `kerasdrop.layers.Dropout(0.5)`, and train with it"
    )
    if keras_graph.graph_of(model) is not None:
        cure = (
            "Make a copy with dropout before its head: `model, report = "
            "kerasdrop.insert_dropout(model, 0.2)`. Or train one with dropout"
        )
    if found.may_draw:
        return  # only a pass shows it, and raises if nothing draws
    raise Refusal(
        f"no layer of model '{model.name}' can draw, so all samples "
        f"would be the same. {cure}.\n" + listing.table(found, choice)
    )
