"""Facts about how a layer draws inside a Monte Carlo pass.

Layers of this package ask the scope themselves. `asking.py` makes stock layers
ask it, and `survey.py` answers questions about all layers of a model.
"""

import keras

from kerasdrop import _backend
from kerasdrop._adapters import by_keras
from kerasdrop._adapters import drawing
from kerasdrop._adapters import registry
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.layers.base import StochasticLayer


def register_stochastic(
    cls: type,
    function: Function | None = None,
    rate: Function = drawing.rate_of,
) -> None:
    """Makes the layers of your own class draw in Monte Carlo passes.

    Args:
        cls: A subclass of `keras.layers.Layer`. Its own subclasses are not
            registered with it.
        function: Function of (layer, draw, inputs) that returns the outputs
            under the random numbers of `draw`, written with the functions of
            `kerasdrop.functional`. If it also has a parameter `rate`, it gets
            the rate by name: the result of the function `rate` below or, as a
            float32 tensor, the rate that one call of `mc_predict` is given. If
            `function` is None, the layer is called as in training and draws
            from its own seed generators, instances of
            `keras.random.SeedGenerator`, which get their seeds from the pass.
            Its numbers then depend on the batch size, on the number of samples
            and on the backend. The stratified plan does not balance them, and
            the shared plan is refused.
        rate: Function of a layer that returns a number, which is 0 if and only
            if the layer draws nothing. By default it returns the layer's
            attribute `rate`.

    Raises:
        ValueError: If `cls` is not a layer class, or already draws by itself;
            if `function` or `rate` is not a function. In a prediction: if a
            layer without `function` has no seed generator, or has weights that
            training changes without the optimizer.

    Example:

    >>> class MyNoise(keras.layers.Layer):
    ...     sd = 0.1
    ...     def call(self, inputs, training=False):
    ...         if not training:
    ...             return inputs
    ...         shape = keras.ops.shape(inputs)
    ...         return inputs + self.sd * keras.random.normal(shape)
    >>> def noise(layer, draw, inputs):
    ...     return kerasdrop.functional.gaussian_noise(inputs, draw, layer.sd)
    >>> register_stochastic(MyNoise, noise, rate=lambda layer: layer.sd)
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
        adapter = drawing.Adapter(
            by_keras.methods, rate, is_by_keras=True, takes_rate=False
        )
    else:
        adapter = drawing.by_function(function, rate)
    registry.register(cls, adapter)


def adapter_of(layer: keras.layers.Layer) -> Given:
    """The adapter of a layer from outside this package, or None."""
    found = registry.drawing_class(type(layer))
    return None if found is None else registry.adapter_of_class(found)


# Methods that a subclass may override and still draw as its parent does. Its
# `call` must call that of the parent, which the pass sees.
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


def overrides(layer: keras.layers.Layer) -> list[Given]:
    """Names of the methods that a subclass of a stock class overrides.

    The adapter does not know these methods, so it would draw in another way
    than the layer does in training.
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


def can_draw(layer: keras.layers.Layer) -> bool:
    """Whether `layer` itself draws in a Monte Carlo pass."""
    return isinstance(layer, StochasticLayer) or adapter_of(layer) is not None


def rate_of(layer: keras.layers.Layer) -> float:
    """A number that is 0 if and only if the layer would draw nothing."""
    adapter = adapter_of(layer)
    return _backend.patient(
        lambda: float(layer.rate if adapter is None else adapter.rate(layer))
    )


def is_by_keras(layer: keras.layers.Layer) -> bool:
    """Whether `layer` draws from Keras' generators in a Monte Carlo pass."""
    adapter = adapter_of(layer)
    return adapter is not None and adapter.is_by_keras


_KNOWN = ("keras.src.", "kerasdrop.")
_FUNCTIONS = ("activation", "recurrent_activation")


def is_foreign(layer: keras.layers.Layer) -> bool:
    """Whether `layer` runs code that neither Keras nor this package wrote."""
    cls = type(layer)
    return is_foreign_class(cls) or registry.nearest_facts(cls).wraps_code


def is_foreign_class(cls: type) -> bool:
    """Whether neither Keras nor this package defines a class."""
    return not cls.__module__.startswith(_KNOWN)


def runs_users_code(layer: keras.layers.Layer) -> bool:
    """Whether users' code, or a function of theirs, computes its outputs.

    It is known which layers and operations of Keras keep rows apart, and that
    their configurations are complete.
    """
    return is_foreign(layer) or bool(users_functions(layer))


def users_functions(layer: keras.layers.Layer) -> dict[str, Function]:
    """The activations of a layer that are not Keras', by the argument."""
    found = {name: getattr(layer, name, None) for name in _FUNCTIONS}
    return {
        name: function
        for name, function in found.items()
        if function is not None
        and not (_module_of(function) or "").startswith(_KNOWN)
    }


def _module_of(function: Function) -> str | None:
    found = getattr(function, "__module__", None)
    return found or getattr(type(function), "__module__", None)
