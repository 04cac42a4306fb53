"""Checks during a pass which layers ask for a draw, and where they ask."""

import contextlib
import functools
from collections.abc import Iterator

import keras
import numpy as np

from kerasdrop import _backend
from kerasdrop import masks
from kerasdrop._adapters import adapters
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import in_place
from kerasdrop._adapters.survey import Survey
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.masks import scopes
from kerasdrop.montecarlo import choice as choices
from kerasdrop.montecarlo.sampling import symbolic

_LOOP = (
    "draws inside a loop that the backend traces once for all of its steps "
    "(`keras.ops.scan`, `map`, `while_loop`, `fori_loop`, `vectorized_map`, "
    "the loop of a recurrent layer of yours), or in a function that is "
    "compiled on its own (`tf.function`, `jax.jit`), so that each step would "
    "have the same mask. Draw before the loop, write it as a loop of Python, "
    "or make the step a cell in `keras.layers.RNN`, where each step draws "
    "anew."
)
_UNSEEDED = (
    "draws random numbers that are not seeded by Keras (`tf.random`, or on JAX "
    "`keras.random` without a `seed`), so that its samples could not be "
    "reproduced. Make a `keras.random.SeedGenerator` in its `__init__` and "
    "hand it to `keras.random` as `seed`."
)
_ONLY_IN_TRAINING = (
    "is called in training only, under `if training:`, so a prediction "
    "never reaches it. Call it always, `self.dropout(x, training=training)`: "
    "it does nothing at inference by itself. Or set its rate to 0, if it "
    "should not draw."
)
_NOT_BY_ITSELF = (
    "has its own `call`, which in a prediction does not reach that of the "
    "class that draws. Let it call `super().call(inputs, training=True)`, or "
    "register how it draws, with `kerasdrop.register_stochastic`."
)

_NEVER_CALLED = (
    "cannot get a rate: a prediction does not call it. If the layer around it "
    "was made with a rate of 0, make that one with a rate above 0; otherwise "
    "leave this one out of `layers`."
)
NOT_SELECTED = (
    "draws random numbers at inference by itself, and `layers` cannot leave it "
    "out. Leave the argument `layers` out; or register how it draws, with "
    "`kerasdrop.register_stochastic`, and select it."
)


@contextlib.contextmanager
def checking(
    found: Survey,
    inputs: Tensor,
    layers: dict[keras.layers.Layer, int],
    draw_of: Function,
    keep_all: bool | None,
    choice: choices.Choice,
    rates: Tensor,
) -> Iterator[Given]:
    """Enters a `StochasticScope` and checks that all layers ask as they must.

    Args:
        found: The `Survey` of the model that is run in the block.
        inputs: Its inputs, tensors.
        layers: The layers that draw.
        draw_of, keep_all, rates: As for `StochasticScope`.
        choice: The `choice.Choice` of what is drawn.

    Raises:
        ValueError: If a layer asks inside a loop that is traced once, or if the
            model runs a layer (or the layer that owns it) that draws in
            training but does not ask for its draw here.
    """
    model = found.model
    scope = scopes.StochasticScope(draw_of, layers, keep_all, rates)
    with entered(scope, found):
        yield scope
    silent = [layer for layer in layers if not scope.asked[id(layer)]]
    if silent:
        _check_silent(model, inputs, silent, choice)
        if len(silent) == len(layers) and not scope.asked[id(None)]:
            raise ValueError(
                f"{_named(model, silent[0])} is not called in a prediction"
                f"{', nor is any other that draws' if silent[1:] else ''}, so "
                "all samples would be the same. Select another with `layers`, "
                "or let the model call it."
            )
    if scope.asked[id(None)] and not choice.is_whole:
        raise ValueError(f"Something in model '{model.name}' {NOT_SELECTED}")
    if not layers and not scope.asked[id(None)]:
        raise ValueError(
            f"no layer of model '{model.name}' can draw, so all samples would "
            "be the same. Add dropout, e.g. `kerasdrop.layers.Dropout(0.5)`, "
            "and train with it. If you have a layer that is random in training "
            "only, register how it draws, with `kerasdrop.register_stochastic`."
        )


@contextlib.contextmanager
def entered(scope: scopes.StochasticScope, found: Survey) -> Iterator[None]:
    """Enters a scope in which all random numbers are made from its draws.

    Args:
        scope: A `StochasticScope`.
        found: The `Survey` of the model that is run in the block.
    """
    scope.owners.update(found.generator_owners)
    with refusing(found.model), scope:
        if found.has_foreign and _backend.SEEDS_OWN:
            before = scope.asked[id(None)]
            with _backend.seeded(lambda: by_keras.own_seed(scope)):
                scope.asked[id(None)] = before
                state = _backend.random_state()
                yield
                scope.asked[id(None)] += _backend.has_drawn(state)
        else:
            yield


@contextlib.contextmanager
def refusing(model: keras.Model) -> Iterator[None]:
    """Adds the layer's name to the error if something cannot be drawn."""
    try:
        yield
    except scopes.AskedInLoop as error:
        raise ValueError(f"{_named(model, error.layer)} {_LOOP}") from None
    except scopes.Unseeded as error:
        raise ValueError(f"{_named(model, error.layer)} {_UNSEEDED}") from None


def _named(model: keras.Model, layer: keras.layers.Layer) -> Given:
    if layer is None:
        return f"A random number generator of model '{model.name}'"
    paths = {id(one): path for path, one in model_tree.walk(model)}
    return (
        f"Layer '{paths.get(id(layer), layer.name)}' "
        f"({model_tree.class_name(layer)}) of model '{model.name}'"
    )


def _check_silent(
    model: keras.Model, inputs: Structure, silent: Given, choice: choices.Choice
) -> None:
    """Raises if one of the layers should have asked but did not.

    Nothing is wrong if a layer is in a part of the model that predictions do
    not run, such as a head that only training uses.
    """
    called, _ = _trial(model, inputs, silent, choice, training=False)
    _, asked = _trial(model, inputs, silent, choice, training=True)
    for layer in silent:
        if id(layer) in called:
            raise ValueError(f"{_named(model, layer)} {_NOT_BY_ITSELF}")
        owners = [
            one
            for one in keras_graph.all_layers(model)
            if any(sub is layer for sub in model_tree.sublayers(one))
        ]
        runs = any(one is model or id(one) in called for one in owners)
        if runs and asked[id(layer)]:
            raise ValueError(f"{_named(model, layer)} {_ONLY_IN_TRAINING}")
        if runs and choice.is_given(layer) and not adapters.rate_of(layer):
            raise ValueError(f"{_named(model, layer)} {_NEVER_CALLED}")


def _trial(
    model: keras.Model,
    inputs: Structure,
    layers: Given,
    choice: choices.Choice,
    training: Given,
) -> Given:
    """Returns the ids of the layers that run, and how often each layer asks.

    The model is called on symbolic inputs, so its state does not change.
    """
    called: set[Given] = set()
    key = masks.key_of_seed(0)
    one = np.zeros(1, "int32")

    def draw_of(layer: keras.layers.Layer, *_: Given) -> Given:
        # A seed belongs to the first row.
        return (
            masks.Draw(key, 0)
            if layer is not None
            else masks.Draw(key, one, one)
        )

    rates = choice.rates_for_scope(choice.for_check().vector())
    scope = scopes.StochasticScope(draw_of, layers, rates=rates)

    def run(inputs: Structure) -> Given:
        # Keras may try more than once. On PyTorch it tries without data first,
        # and then with data.
        called.clear()
        scope.asked.clear()
        with _recording(model, called), scope:
            return model(inputs, training=training)

    symbolic.run(run, inputs)
    return called, scope.asked


@contextlib.contextmanager
def _recording(model: keras.Model, called: Given) -> Iterator[None]:
    """Adds to `called` the id of each layer that is called in the block."""

    def recorded(layer: keras.layers.Layer) -> Given:
        plain = layer.call

        @functools.wraps(plain)
        def call(*args: Given, **kwargs: Given) -> Given:
            called.add(id(layer))
            return plain(*args, **kwargs)

        return layer, "call", call

    with in_place.replaced(list(map(recorded, keras_graph.all_layers(model)))):
        yield
