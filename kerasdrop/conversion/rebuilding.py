"""Rebuilds a layer or operation from the configuration of another one."""

import contextlib
import inspect

import keras

from kerasdrop._adapters import adapters
from kerasdrop._adapters import making
from kerasdrop._structure import keras_graph
from kerasdrop._types import Config
from kerasdrop._types import Given

# The errors of a `get_config` that reads missing attributes, and of a
# `from_config` with an incomplete configuration.
NOT_REBUILT = (AttributeError, KeyError, NotImplementedError, TypeError)


def by_its_code(
    operation: keras.Operation,
) -> contextlib.AbstractContextManager[None]:
    """A context in which code from outside Keras creates other layers.

    Layers of Keras have their inner layers in their configurations, where each
    is replaced separately.
    """
    if isinstance(operation, keras.layers.Layer) and any(
        map(adapters.is_foreign, keras_graph.all_layers(operation))
    ):
        return contextlib.nullcontext()
    return making.usual_constructors()


def rebuild(
    operation: keras.Operation, config: Config | None = None
) -> keras.Operation:
    """A new layer or operation from the configuration of an old one."""
    if type(operation) is keras.layers.Lambda:
        return _rebuild_lambda(operation)
    cls = type(operation)
    try:
        if config is None:
            config = operation.get_config()
        config = _with_functions(operation, config)
        try:
            return cls.from_config(config)
        except TypeError:
            if _taken_by(cls, config) == config:
                raise
            return cls.from_config(_taken_by(cls, config))
    except NOT_REBUILT as error:
        raise ValueError(
            f"Layer '{operation.name}' ({type(operation).__name__}) cannot be "
            "copied, because it cannot be rebuilt from its configuration: "
            f"{error}\nGive the class a `get_config` that returns all "
            "arguments of its `__init__`; register the classes of layers "
            "inside it with `keras.saving.register_keras_serializable`."
        ) from error


def _with_functions(operation: keras.Operation, config: Config) -> Config:
    """A configuration of a layer of Keras with the functions themselves.

    A configuration has only the name of an activation, which may be that of
    another one.
    """
    if adapters.is_foreign_class(type(operation)):
        return config
    functions = adapters.users_functions(operation)
    return {name: functions.get(name, value) for name, value in config.items()}


def _taken_by(cls: Given, config: Config) -> Config:
    """A configuration without Keras' entries that `__init__` does not take.

    An example is a model whose `__init__` has no arguments. It is checked later
    that its copy has the same dtype.
    """
    parameters = inspect.signature(cls.__init__).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return config
    added = {"name", "trainable", "dtype"} - set(parameters)
    return {key: config[key] for key in config if key not in added}


def _rebuild_lambda(layer: keras.layers.Layer) -> keras.layers.Layer:
    # `from_config` refuses Python code, which is right for a file. Here the
    # user already runs this code.
    return keras.layers.Lambda(
        layer.function,
        output_shape=output_shape_of_lambda(layer),
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        trainable=layer.trainable,
        dtype=layer.dtype_policy,
    )


def output_shape_of_lambda(layer: keras.layers.Layer) -> tuple[int, ...]:
    """The argument of that name; tests/contracts/test_lambda.py pins it."""
    return layer._output_shape
