"""Tests whether a model is unchanged, bit for bit."""

import contextlib
import random

import keras
import numpy as np
from keras import ops

from kerasdrop._structure import keras_graph

# Attributes that Keras sets in a first call, for its own messages.
_NOTES = {"_called", "_parent_path"}
# Attributes that earlier predictions leave on a model.
KEPT = {"__kerasdrop_checks__", "__kerasdrop_predictive__"}


def layers_of(model):
    return list(model._flatten_layers())


def state_of(model):
    """Everything that a user could see of a model."""
    return {
        "variables": {
            f"{number} {variable.path}": ops.convert_to_numpy(variable)
            for number, variable in enumerate(model.variables)
        },
        "config": _config_of(model),
        "trainable": [layer.trainable for layer in layers_of(model)],
        "torch mode": getattr(model, "training", None),
        "nodes": [len(layer._inbound_nodes) for layer in layers_of(model)],
        "losses": len(model.losses),
        "attributes": [_attributes(layer) for layer in layers_of(model)],
        "methods": [_functions(layer) for layer in layers_of(model)],
        "functions": (
            model.train_function,
            model.test_function,
            model.predict_function,
        ),
    }


def _config_of(model):
    # The serialized form of a PyTorch module contains the time.
    names = {type(layer).__name__ for layer in layers_of(model)}
    if "TorchModuleWrapper" in names:
        return None
    try:
        return model.get_config()
    except NotImplementedError:
        return None


def _attributes(layer):
    return sorted(set(vars(layer)) - KEPT)


def _functions(layer):
    """The methods that are set on an instance, and its flags."""
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in _NOTES
        and (callable(value) or isinstance(value, (bool, str)))
    }


def assert_same_state(before, after, what):
    """Asserts that two states are equal, to the bit.

    Args:
        before, after: As `state_of` returns them.
        what: String, what happened between them.
    """
    assert list(before) == list(after)
    for name, one in before.items():
        other = after[name]
        if name != "variables":
            assert one == other, (
                f"{what} has changed {name}: {_differ(one, other)}"
            )
            continue
        assert list(one) == list(other), f"{what} has changed: {name}"
        for path in one:
            np.testing.assert_array_equal(
                one[path], other[path], f"{what} has changed {path}"
            )


def _differ(one, other):
    if not isinstance(one, list):
        return f"{one}, now {other}"
    pairs = [pair for pair in zip(one, other) if pair[0] != pair[1]]
    if isinstance(pairs[0][0], dict):
        one, other = pairs[0]
        return [
            f"{key}: {one.get(key)}, now {other.get(key)}"
            for key in {*one, *other}
            if one.get(key) != other.get(key)
        ]
    return f"{pairs[0][0]}, now {pairs[0][1]}"


def count_layers(model):
    """How many layers a plain call calls at least."""
    inputs = keras.layers.InputLayer
    found = sum(not isinstance(layer, inputs) for layer in model.layers)
    return max(1, found)


@contextlib.contextmanager
def failing(error, call_number):
    """Raises `error` in a call of a layer, and asserts that it gets out.

    Args:
        error: Class of an exception.
        call_number: The number of the call, from 1 on.
    """
    layer_call = keras.layers.Layer.__call__
    calls = []

    def call(self, *args, **kwargs):
        first = next(iter(keras.tree.flatten((args, kwargs))), None)
        if not isinstance(first, keras.KerasTensor):
            calls.append(self)
            # Layers call inner layers.
            if len(calls) == call_number + 1:
                raise error("in the midst of a pass")
        return layer_call(self, *args, **kwargs)

    keras.layers.Layer.__call__ = call
    try:
        yield
    except error:
        assert len(calls) > call_number
    else:
        raise AssertionError(f"a layer raised {error.__name__}, and no more")
    finally:
        keras.layers.Layer.__call__ = layer_call


@contextlib.contextmanager
def unmoved_generators():
    """Asserts that no global generator has moved at the end of the block."""
    _seed()
    expected = _draws()
    _seed()
    yield
    drawn = _draws()
    moved = [name for name in drawn if drawn[name] != expected[name]]
    assert not moved, f"the global generator has moved of {moved}"


def _seed():
    # Before Keras 3.13 an existing generator keeps its state, and the first
    # draw makes a generator by a draw from Python's.
    keras.random.uniform(())
    keras.utils.set_random_seed(7)
    generator = keras_graph.global_generator()
    if generator is not None:
        generator.state.assign([7, 0])


def _draws():
    draws = {
        "random": random.random(),
        "numpy": np.random.random(),  # noqa: NPY002
        "keras": float(keras.random.uniform(())),
    }
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        draws["tensorflow"] = float(tf.random.uniform(()))
    if keras.backend.backend() == "torch":
        import torch

        draws["torch"] = float(torch.rand(()))
    return draws
