"""How each stochastic layer class draws inside a Monte Carlo pass.

Our own layers ask the scope themselves. A stock layer is made to: for the
duration of the pass its instance carries methods that ask the scope, and
without one (in another thread, say) do what they always do.
"""

import collections
import contextlib
import functools
import inspect
import threading

import keras
import numpy as np
from keras import ops

from kerasdrop import _backend
from kerasdrop._adapters import attributes
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import drawing
from kerasdrop._adapters import registry
from kerasdrop._adapters import rnn_cells
from kerasdrop._adapters import rnn_loops
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from kerasdrop.layers.base import StochasticLayer
from kerasdrop.masks import scopes


def register_stochastic(cls, function=None, rate=drawing.rate_of):
    """Makes the layers of a class of yours draw in Monte Carlo passes.

    Args:
        cls: A subclass of `keras.layers.Layer`; its own subclasses are not
            meant.
        function: Function of (layer, draw, inputs) that returns the outputs
            under the random numbers of `draw`, written with the functions of
            `kerasdrop.functional`. None: the layer is called as in training
            and draws by its own `keras.random.SeedGenerator`s, which get
            their seeds from the pass. Its numbers then depend on the batch
            size, on the number of samples and on the backend; they are not
            balanced by the stratified plan, and it has no shared one.
        rate: Function of a layer that returns a number, 0 if and only if the
            layer draws nothing. By default its attribute `rate`.

    Raises:
        ValueError: If `cls` is not a layer class, or draws by itself already;
            if `function` or `rate` is no function. When a model is predicted:
            if a layer without `function` has no seed generator, or weights
            that training changes past the optimizer.

    Example:

    >>> def noise(layer, draw, inputs):
    ...     return kerasdrop.functional.gaussian_noise(inputs, draw, layer.sd)
    >>> kerasdrop.register_stochastic(MyNoise, noise, rate=lambda l: l.sd)
    >>> kerasdrop.register_stochastic(MyOtherNoise, rate=lambda l: l.sd)
    """
    is_layer = isinstance(cls, type) and issubclass(cls, keras.layers.Layer)
    if not is_layer or issubclass(cls, StochasticLayer):
        raise ValueError(
            "register_stochastic: argument `cls` must be a subclass of "
            "`keras.layers.Layer` that is not one of kerasdrop, whose layers "
            f"draw without it. Received: cls={cls!r}"
        )
    for name, value in (("function", function), ("rate", rate)):
        if not (callable(value) or (name == "function" and value is None)):
            raise ValueError(
                f"register_stochastic: argument `{name}` must be a function. "
                f"Received: {name}={value!r}"
            )
    if function is None:
        adapter = drawing.Adapter(by_keras.methods, rate, is_by_keras=True)
    else:
        adapter = drawing.by_function(function, rate)
    registry.register(cls, adapter)


def adapter_of(layer):
    """The adapter of a layer that is not ours, or None."""
    found = registry.drawing_class(type(layer))
    return None if found is None else registry.adapter_of_class(found)


# What a subclass may have of its own and still draw as its parent does: its
# `call` has to reach that of the parent, which the pass sees.
_HARMLESS = {
    "call",
    "build",
    "get_config",
    "from_config",
    "compute_mask",
    "compute_output_shape",
    "compute_output_spec",
    "inner_loop",
}


def overrides(layer):
    """Names of what a subclass of a stock class does in another way.

    Its adapter does not know of them, so that it would draw otherwise than
    the layer does in training.
    """
    known = registry.drawing_class(type(layer))
    if known is None or registry.is_registered(known):
        return []
    above = set(keras.layers.Layer.__mro__)
    of_parent = {
        name for cls in known.__mro__ if cls not in above for name in vars(cls)
    }
    return sorted(
        name
        for cls in type(layer).__mro__[: type(layer).__mro__.index(known)]
        for name in vars(cls)
        if name in of_parent - _HARMLESS and not name.endswith("__")
    )


def can_draw(layer):
    """Whether `layer` itself draws in a Monte Carlo pass."""
    return isinstance(layer, StochasticLayer) or adapter_of(layer) is not None


def rate_of(layer):
    """A number that is 0 if and only if the layer would draw nothing."""
    adapter = adapter_of(layer)
    return _backend.patient(
        lambda: float(layer.rate if adapter is None else adapter.rate(layer))
    )


def smallest_chance(model):
    """The smallest probability of what is drawn: a float32 scalar tensor.

    That of a unit to be dropped, or to be kept, if it may be either. It is read
    in the graph, and infinite if nothing is dropped.
    """
    rates = [
        rate for layer in drawable_layers(model) for rate in _live_rates(layer)
    ]
    if not rates:
        return ops.convert_to_tensor(np.inf, "float32")
    rates = ops.stack(rates)
    chances = ops.minimum(rates, 1.0 - rates)
    return ops.min(ops.where(chances > 0.0, chances, np.inf))


def _live_rates(layer):
    """Tensors, each the probability that a unit is dropped."""
    adapter = adapter_of(layer)
    if adapter is None:
        return [layer._rate_tensor()]
    if adapter is drawing.GAUSSIAN_NOISE:
        return []  # a deviation; and no sample is without it
    if adapter.rate is rnn_cells.rate:
        return [
            *map(drawing.rate_tensor, (layer.dropout, layer.recurrent_dropout))
        ]
    return [drawing.rate_tensor(rate_of(layer))]


def is_by_keras(layer):
    """Whether `layer` draws by Keras' generators in a Monte Carlo pass."""
    adapter = adapter_of(layer)
    return adapter is not None and adapter.is_by_keras


def fingerprint(model):
    """What a compiled Monte Carlo pass depends on, besides values."""
    layers = [
        (
            id(layer),
            getattr(layer.dtype_policy, "name", None),
            layer.supports_masking,
            adapter_of(layer),
            attributes.of_layer(layer),
        )
        for layer in keras_graph.all_layers(model)
    ]
    # LoRA adds variables. JAX gets them in two lists, those to train and the
    # others, and would not notice that two of one shape changed places.
    variables = [
        (id(variable), variable.trainable) for variable in model.variables
    ]
    return layers, variables


def drawable_layers(model):
    """The layers that can draw, in the order that numbers them.

    Those at rate 0 included: a rate must not change what others draw.
    """
    return [layer for layer in keras_graph.all_layers(model) if can_draw(layer)]


def is_constant(layer):
    """Whether the layer draws nothing, as long as its fingerprint stays."""
    return adapter_of(layer) is not None and rate_of(layer) == 0.0


def unknown_layers(model):
    """Layers that have random numbers of Keras and no adapter.

    Not counted are layers that hold one that can draw, whose numbers these
    may be, and augmentation, which is no part of the model's uncertainty.
    """
    holders = holders_of(model, drawable_layers(model))
    return [
        layer
        for layer in keras_graph.all_layers(model)
        if id(layer) not in holders
        and ".preprocessing." not in type(layer).__module__
        and (by_keras.generators(layer) or _wraps_dropout(layer))
    ]


def _wraps_dropout(layer):
    """Whether `layer` wraps a module of PyTorch with dropout in it."""
    if not isinstance(layer, keras.layers.TorchModuleWrapper):
        return False
    return any(
        "Dropout" in type(module).__name__ and getattr(module, "p", 0.0)
        for module in layer.module.modules()
    )


def holders_of(model, layers):
    """Ids of all layers of `model` that are or hold one of `layers`."""
    wanted = {id(layer) for layer in layers}
    # From the inside out, so that one round is enough where nothing is shared.
    found = [
        (id(layer), set(map(id, model_tree.sublayers(layer))))
        for layer in reversed(keras_graph.all_layers(model))
    ]
    holders, is_growing = set(), True
    while is_growing:
        size = len(holders)
        for own, held in found:
            if own in wanted or held & holders:
                holders.add(own)
        is_growing = len(holders) > size
    return holders


def is_traceable(model):
    """Whether each layer runs inside a function that JAX compiles.

    Augmentation says that it does not, and does where it changes nothing.
    """
    return all(
        layer.supports_jit or by_keras.is_augmentation(layer)
        for layer in keras_graph.all_layers(model)
    )


def draws_by_step(model):
    """Whether a layer draws in a loop over steps that Keras may vectorize.

    `TimeDistributed` is a loop of Python where the number of steps is known,
    and else a map, which would draw once for all steps.
    """
    loops = [
        layer
        for layer in keras_graph.all_layers(model)
        if registry.loop_of(layer) == registry.MAP
    ]
    return bool(loops) and any(map(drawable_layers, loops))


_lock = threading.RLock()
# How many passes use a method put in place, by the object's id and its name.
_users = collections.Counter()
# What a class has itself, by the class and the name, while a pass replaces it.
_of_classes = {}


@contextlib.contextmanager
def asking_the_scope(model, layers):
    """Makes the stock ones among `layers` ask the scope, inside the block.

    All other layers are in inference there, whatever `training` they are
    called with: in a block that calls `dropout(x, training=True)`, Keras hands
    that on to the batch normalization behind it.
    """
    with _in_place(lambda: _replacements(model, layers)), scopes.inference():
        yield


@contextlib.contextmanager
def obeying_training():
    """Layers called with `training=True` in so many words obey, in the block.

    In the scope of a plain call of a self-check, that is, and if they are not
    among those that it keeps in inference.
    """
    with _in_place(lambda: [(keras.layers.Layer, {"__call__": _obedient})]):
        yield


@functools.wraps(keras.layers.Layer.__call__)
def _obedient(layer, *args, **kwargs):
    plain = _of_classes[keras.layers.Layer, "__call__"]
    scope = scopes.current()
    if scope is None or scope.draws or not kwargs.get("training"):
        return plain(layer, *args, **kwargs)
    with scope.called_in_training(layer):
        return plain(layer, *args, **kwargs)


@contextlib.contextmanager
def _in_place(replacements):
    """Puts methods in place for the block.

    Args:
        replacements: Function that returns pairs as `_replacements` does.
    """
    used = []
    try:
        with _lock:
            for owner, methods in list(replacements()):
                for name, method in methods.items():
                    used.append((owner, name))
                    _users[id(owner), name] += 1
                    if _users[id(owner), name] == 1:
                        _put(owner, name, method)
        yield
    finally:
        with _lock:
            for owner, name in used:
                _users[id(owner), name] -= 1
                if _users[id(owner), name] == 0:
                    del _users[id(owner), name]
                    _take_away(owner, name)


def _put(owner, name, method):
    if isinstance(owner, type):
        _of_classes[owner, name] = vars(owner)[name]
        setattr(owner, name, method)
    else:
        # Past Keras' tracker: this is no part of the model.
        object.__setattr__(owner, name, method)


def _take_away(owner, name):
    if not isinstance(owner, type):
        vars(owner).pop(name, None)
    elif (owner, name) in _of_classes:
        setattr(owner, name, _of_classes.pop((owner, name)))


@contextlib.contextmanager
def replaced(methods):
    """Puts methods in place, over those of a pass if there is one.

    Meanwhile no other thread can begin or end a pass.

    Args:
        methods: List of (object, name, method).
    """
    before = []
    with _lock:
        try:
            for owner, name, method in methods:
                before.append((owner, name, vars(owner).get(name)))
                object.__setattr__(owner, name, method)
            yield
        finally:
            for owner, name, method in reversed(before):
                if method is None:
                    vars(owner).pop(name, None)
                else:
                    object.__setattr__(owner, name, method)


def _replacements(model, layers):
    """Pairs of an object and the methods to put in place, by name."""
    yield by_keras.generator_class()
    drawn = {id(layer) for layer in layers}

    def drawn_in(layer):
        return [
            one for one in keras_graph.all_layers(layer) if id(one) in drawn
        ]

    for layer in keras_graph.all_layers(model):
        if rnn_loops.loops_over(layer, drawn_in):
            yield layer, {"inner_loop": rnn_loops.numbered_loop(layer)}
        adapter = adapter_of(layer)
        if id(layer) in drawn:
            if adapter is None:  # one of ours
                continue
            known = registry.drawing_class(type(layer))
            yield from _all_asking(layer, known, adapter.methods(layer))
            if adapter.is_by_keras:
                for generator in by_keras.generators(layer):
                    found = by_keras.generator_methods(generator)
                    yield (
                        generator,
                        {
                            name: _asking(layer, getattr(generator, name), f)
                            for name, f in found.items()
                        },
                    )
        elif rnn_loops.is_layer_of(layer, layers):
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
            # Each look makes another method of it.
            if call != layer.call:
                yield layer, {"call": call}


def _watched(layer, plain):
    """A call of a layer that may draw in a way of its own."""

    @functools.wraps(plain)
    def call(*args, **kwargs):
        if not scopes.is_inference():
            return plain(*args, **kwargs)
        before = _backend.random_state()
        try:
            outputs = plain(*args, **kwargs)
        except scopes.DrawsInPrefix as error:
            raise scopes.DrawsInPrefix(error.layer or layer) from None
        except ValueError as error:
            if "[JAX RNG]" in str(error):  # Keras, of unseeded numbers
                raise scopes.Unseeded(layer) from None
            raise
        if _backend.SEEDS_OWN:
            # In a scope they are seeded.
            if scopes.current() is None and _backend.has_drawn(before):
                raise scopes.DrawsInPrefix(layer)
        elif _backend.has_drawn(before):
            raise scopes.Unseeded(layer)
        return outputs

    return call


def may_draw(model):
    """Whether something in `model` may draw that is not known to."""
    return any(
        is_foreign(layer) or by_keras.generators(layer)
        for layer in keras_graph.all_layers(model)
        if ".preprocessing." not in type(layer).__module__
    )


def is_foreign(layer):
    """Whether `layer` runs code that neither Keras nor this package wrote."""
    module = type(layer).__module__
    return isinstance(layer, keras.layers.Lambda) or not (
        module.startswith(("keras.src.", "kerasdrop."))
    )


def _is_leaf_with_training(layer):
    return keras_graph.takes_training(layer) and not model_tree.sublayers(layer)


def _staying_in_inference(plain, layer=None):
    signature = inspect.signature(plain)

    @functools.wraps(plain)
    def call(*args, **kwargs):
        scope = scopes.current()
        is_told = scope is not None and scope.is_in_training(layer)
        if is_told or not scopes.is_inference():
            return plain(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.arguments["training"] = False
        return plain(*bound.args, **bound.kwargs)

    return call


def _all_asking(layer, known, methods):
    """What to put in place so that a layer asks the scope.

    Args:
        layer: A layer.
        known: The class of its that these methods are of.
        methods: Dict of functions by name, as of `Adapter.methods`.

    Yields:
        Pairs of the layer, or a class, and its methods by name. A layer with a
        method of its own, which calls that of the parent, keeps it: the class
        of the parent is where the call is caught.
    """
    for name, function in methods.items():
        owner = _owner(known, name)
        if _owner(type(layer), name) is owner:
            yield layer, {name: _asking(layer, getattr(layer, name), function)}
        else:
            yield owner, {name: _caught(owner, name)}


def _owner(cls, name):
    return next(one for one in cls.__mro__ if name in vars(one))


def _asking(layer, plain, function):
    @functools.wraps(plain)
    def method(*args, **kwargs):
        scope = scopes.scope_of(_who_decides(layer))
        if scope is None:
            return plain(*args, **kwargs)
        if not scope.draws:
            return _at_inference(plain)(*args, **kwargs)
        return function(plain, layer, scope, *args, **kwargs)

    return method


def _at_inference(plain, name=None):
    """What stands for a method while its layer is kept in inference."""
    if (name or plain.__name__) in rnn_cells.MAKERS_OF_MASKS:
        # A recurrent layer has masks made, and draws for them, at inference
        # too, where its cell does not use them.
        return lambda *args: None
    return _staying_in_inference(plain)


def _caught(owner, name):
    """A method of a class that asks for layers with such a one of their own."""
    plain = vars(owner)[name]

    @functools.wraps(plain)
    def method(layer, *args, **kwargs):
        bound = functools.partial(plain, layer)
        known = rnn_loops.stock_class(layer) or registry.drawing_class(
            type(layer)
        )
        scope = None
        if known is not None and _owner(type(layer), name) is not owner:
            scope = scopes.scope_of(_who_decides(layer))
        if scope is None:
            return bound(*args, **kwargs)
        if not scope.draws:
            return _at_inference(bound, name)(*args, **kwargs)
        if rnn_loops.stock_class(layer) is known:
            methods = rnn_cells.layer_methods(layer)
        else:
            methods = adapter_of(layer).methods(layer)
        return methods[name](bound, layer, scope, *args, **kwargs)

    return method


def _who_decides(layer):
    """The layer whose draws decide how `layer` is called."""
    return layer.cell if registry.is_around_cell(layer) else layer
