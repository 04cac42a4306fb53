"""Replaces methods of layers during a pass.

For the duration of a pass, the instance of a stock layer carries methods that
ask the scope. Without a scope, such as in another thread, they do what they
always do.
"""

import contextlib
import functools
from collections.abc import Iterable
from collections.abc import Iterator

import keras

from kerasdrop import _backend
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import in_place
from kerasdrop._adapters import registry
from kerasdrop._adapters import rnn_cells
from kerasdrop._adapters import rnn_loops
from kerasdrop._adapters.adapters import adapter_of
from kerasdrop._adapters.adapters import is_foreign
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks import scopes


@contextlib.contextmanager
def asking_the_scope(
    model: keras.Model,
    layers: dict[keras.layers.Layer, int],
    silent: Iterable[keras.layers.Layer] = (),
) -> Iterator[None]:
    """Makes the stock layers among `layers` ask the scope in the block.

    All other layers are in inference in the block, whatever `training` they are
    called with: if code calls `dropout(x, training=True)`, Keras passes that on
    to a batch normalization after it.

    Args:
        model: A model.
        layers: The layers of the model that draw.
        silent: Layers that could draw, but do not in the block.
    """
    with (
        in_place.methods(lambda: _replacements(model, layers, silent)),
        scopes.inference(silent),
    ):
        yield


@contextlib.contextmanager
def watching_calls() -> Iterator[None]:
    """Tells the scope of a plain call of a self-check about each call.

    Layers that the scope does not keep in inference then obey an explicit
    `training=True`.
    """
    with in_place.methods(
        lambda: [(keras.layers.Layer, {"__call__": _told_of})]
    ):
        yield


@functools.wraps(keras.layers.Layer.__call__)
def _told_of(layer: keras.layers.Layer, *args: Given, **kwargs: Given) -> Given:
    plain = in_place.of_class(keras.layers.Layer, "__call__")
    scope: Given = scopes.current()
    if scope is None or scope.draws:
        return plain(layer, *args, **kwargs)
    with scope.called(layer, bool(kwargs.get("training"))):
        return plain(layer, *args, **kwargs)


def _replacements(
    model: keras.Model,
    layers: dict[keras.layers.Layer, int],
    silent: Iterable[keras.layers.Layer],
) -> Iterator[Given]:
    """Yields pairs of an object and its methods for `in_place.methods`."""
    yield by_keras.generator_class()
    asking = {id(layer) for layer in (*layers, *silent)}
    drawn = {id(layer) for layer in layers}

    def drawn_in(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
        return [
            one for one in keras_graph.all_layers(layer) if id(one) in drawn
        ]

    for layer in keras_graph.all_layers(model):
        if rnn_loops.loops_over(layer, drawn_in):
            yield layer, {"inner_loop": rnn_loops.numbered_loop(layer)}
        adapter = adapter_of(layer)
        if id(layer) in asking:
            if adapter is None:  # it is ours
                continue
            known = registry.drawing_class(type(layer))
            yield from _all_asking(layer, known, adapter.methods(layer))
            if adapter.is_by_keras and id(layer) in drawn:
                for generator in by_keras.generators(layer):
                    found = by_keras.generator_methods(generator)
                    yield (
                        generator,
                        {
                            name: _asking(layer, getattr(generator, name), f)
                            for name, f in found.items()
                        },
                    )
        elif rnn_loops.is_layer_of(layer, (*layers, *silent)):
            known = rnn_loops.stock_class(layer)
            methods = rnn_cells.layer_methods(layer)
            yield from _all_asking(layer, known, methods)
        else:
            if by_keras.is_augmentation(layer):
                for generator in by_keras.generators(layer):
                    yield generator, by_keras.idle_methods(generator)
            call = layer.call
            if _is_leaf_with_training(layer):
                call = _staying_in_inference(call, layer)
            if is_foreign(layer):
                call = _watched(layer, call)
            # Each access makes another method object.
            if call != layer.call:
                yield layer, {"call": call}


def _watched(layer: keras.layers.Layer, plain: Function) -> Function:
    """The call of a layer that may draw in its own way."""

    @functools.wraps(plain)
    def call(*args: Given, **kwargs: Given) -> Tensor:
        if not scopes.is_inference():
            return plain(*args, **kwargs)
        before = _backend.random_state()
        try:
            outputs = plain(*args, **kwargs)
        except scopes.DrawsInPrefix as error:
            raise scopes.DrawsInPrefix(error.layer or layer) from None
        except ValueError as error:
            if "[JAX RNG]" in str(error):  # Keras: unseeded
                raise scopes.Unseeded(layer) from None
            raise
        if _backend.SEEDS_OWN:
            # In a scope these numbers are seeded.
            if scopes.current() is None and _backend.has_drawn(before):
                raise scopes.DrawsInPrefix(layer)
        elif _backend.has_drawn(before):
            raise scopes.Unseeded(layer)
        return outputs

    return call


def _is_leaf_with_training(layer: keras.layers.Layer) -> bool:
    return keras_graph.takes_training(layer) and not model_tree.sublayers(layer)


def _staying_in_inference(
    plain: Function, layer: keras.layers.Layer | None = None
) -> Function:
    place = keras_graph.place_of_training(plain)
    if place is None:
        return plain

    @functools.wraps(plain)
    def call(*args: Given, **kwargs: Given) -> Tensor:
        scope = scopes.current()
        is_told = scope is not None and scope.is_in_training(layer)
        if is_told or not scopes.is_inference():
            return plain(*args, **kwargs)
        if len(args) > place:
            args = (*args[:place], False, *args[place + 1 :])
        else:
            kwargs["training"] = False
        return plain(*args, **kwargs)

    return call


def _all_asking(
    layer: keras.layers.Layer, known: Given, methods: dict[str, Function]
) -> Iterator[Given]:
    """Yields the replacements that make a layer ask the scope.

    Args:
        layer: A layer.
        known: The class of the layer that these methods belong to.
        methods: Dict of functions by name, as in `Adapter.methods`.

    Yields:
        Pairs of the layer, or a class, and its methods by name. A layer whose
        own method calls that of the parent keeps it: the call is caught in the
        parent's class.
    """
    for name, function in methods.items():
        owner = model_tree.owner_of(known, name)
        if model_tree.owner_of(type(layer), name) is owner:
            yield layer, {name: _asking(layer, getattr(layer, name), function)}
        else:
            yield owner, {name: _caught(owner, name)}


def _asking(
    layer: keras.layers.Layer, plain: Function, function: Function
) -> Function:
    @functools.wraps(plain)
    def method(*args: Given, **kwargs: Given) -> Given:
        who = _who_decides(layer)
        scope = scopes.scope_of(who)
        if scopes.is_silent(who) or (scope is not None and not scope.draws):
            return _at_inference(plain)(*args, **kwargs)
        if scope is None:
            return plain(*args, **kwargs)
        return function(plain, layer, scope, *args, **kwargs)

    return method


def _at_inference(plain: Function, name: str | None = None) -> Given:
    """The replacement of a method while its layer is kept in inference."""
    if (name or plain.__name__) in rnn_cells.MAKERS_OF_MASKS:
        # A recurrent layer makes masks, and draws for them, at inference too,
        # although its cell does not use them.
        return lambda *args: None
    return _staying_in_inference(plain)


def _caught(owner: Given, name: str) -> Given:
    """A method of a class that asks for layers with their own such method."""
    plain = vars(owner)[name]

    @functools.wraps(plain)
    def method(
        layer: keras.layers.Layer, *args: Given, **kwargs: Given
    ) -> Given:
        bound = functools.partial(plain, layer)
        known = rnn_loops.stock_class(layer) or registry.drawing_class(
            type(layer)
        )
        scope, is_silent = None, False
        is_own = model_tree.owner_of(type(layer), name) is not owner
        if known is not None and is_own:
            who = _who_decides(layer)
            scope, is_silent = scopes.scope_of(who), scopes.is_silent(who)
        if is_silent or (scope is not None and not scope.draws):
            return _at_inference(bound, name)(*args, **kwargs)
        if scope is None:
            return bound(*args, **kwargs)
        if rnn_loops.stock_class(layer) is known:
            methods = rnn_cells.layer_methods(layer)
        else:
            methods = adapter_of(layer).methods(layer)
        return methods[name](bound, layer, scope, *args, **kwargs)

    return method


def _who_decides(layer: keras.layers.Layer) -> Given:
    """The layer whose draws decide how `layer` is called."""
    return layer.cell if registry.is_around_cell(layer) else layer
