"""What a layer has is read again only where it may have changed."""

import argparse
import array
import collections
import functools
import types

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from kerasdrop._adapters import attributes
from kerasdrop._adapters import survey


class Plain:
    def __init__(self):
        self.scale = 1.0

    def scaled(self, x):
        return x * self.scale


def layer_with(value):
    layer = layers.Layer()
    layer.value = value
    return layer


def set_(name, value):
    return lambda layer: setattr(layer.value, name, value)


def put(key, value):
    return lambda layer: layer.value.__setitem__(key, value)


# What an attribute is, and how the object itself becomes another value.
IN_PLACE = {
    "list": (lambda: [1, 2], put(0, 3)),
    "longer list": (lambda: [1, 2], lambda layer: layer.value.append(3)),
    "empty list": (lambda: [], lambda layer: layer.value.append(3)),
    "list that is cleared": (lambda: [1], lambda layer: layer.value.clear()),
    "list in a list": (
        lambda: [[1], 2],
        lambda layer: layer.value[0].append(3),
    ),
    "list in a tuple": (
        lambda: ([1], 2),
        lambda layer: layer.value[0].append(3),
    ),
    "dict": (lambda: {"a": 1}, put("a", 2)),
    "key of a dict": (lambda: {"a": 1}, put("b", 1)),
    "dict in a dict": (
        lambda: {"a": {"b": 1}},
        lambda layer: layer.value["a"].update({"b": 2}),
    ),
    "set": (lambda: {1}, lambda layer: layer.value.add(2)),
    "array": (lambda: np.ones(2), put(0, 2.0)),
    "array in a list": (
        lambda: [np.ones(2)],
        lambda layer: put(0, 2.0)(types.SimpleNamespace(value=layer.value[0])),
    ),
    "array of objects": (
        lambda: np.array([1, "a"], dtype=object),
        put(0, 2),
    ),
    "list in an array of objects": (
        lambda: np.array([[1], None], dtype=object),
        lambda layer: layer.value[0].append(2),
    ),
    "large array": (lambda: np.ones(2**18), put(-1, 2.0)),
    "large array with gaps": (
        lambda: np.ones((2**18, 2), "datetime64[s]")[:, 1],
        put(-1, np.datetime64(2, "s")),
    ),
    "array of Python": (lambda: array.array("d", [1.0]), put(0, 2.0)),
    "dict of a user's": (lambda: collections.UserDict(a=1), put("a", 2)),
    "list in a user's list": (
        lambda: collections.UserList([[1]]),
        lambda layer: layer.value[0].append(2),
    ),
    "namespace of arguments": (
        lambda: argparse.Namespace(a=1),
        set_("a", 2),
    ),
    "view of a dict": (
        lambda: types.MappingProxyType({"a": Plain()}),
        lambda layer: setattr(layer.value["a"], "scale", 2.0),
    ),
    "function with arguments": (
        lambda: functools.partial(max, [1]),
        lambda layer: layer.value.args[0].append(2),
    ),
    "function with names": (
        lambda: functools.partial(max, key=None),
        lambda layer: layer.value.keywords.update(key=abs),
    ),
    "method of an object": (
        lambda: Plain().scaled,
        lambda layer: setattr(layer.value.__self__, "scale", 2.0),
    ),
    "record of NumPy": (
        lambda: np.zeros(1, [("a", "i4")])[0],
        put("a", 1),
    ),
    "bytearray": (lambda: bytearray(b"ab"), put(0, 99)),
    "namespace": (lambda: types.SimpleNamespace(a=1), set_("a", 2)),
    "object": (Plain, set_("scale", 2.0)),
    "object in a list": (
        lambda: [Plain()],
        lambda layer: setattr(layer.value[0], "scale", 2.0),
    ),
    "object that had nothing": (
        type("Empty", (), {}),
        set_("scale", 2.0),
    ),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_what_changes_in_place_is_seen(name):
    make, change = IN_PLACE[name]
    layer = layer_with(make())
    before = attributes.of_layer(layer)
    assert attributes.of_layer(layer, before) == before
    change(layer)
    assert attributes.of_layer(layer, before) != before


REPLACED = {
    "number": (1, 2),
    "type of a number": (1, 1.0),
    "truth": (1, True),
    "string": ("a", "b"),
    "nothing": (None, 1),
    "by nothing": (1, None),
    "tuple": ((1, 2), (1, 3)),
    "type in a tuple": ((1, 2), (1, 2.0)),
    "function": (keras.ops.tanh, keras.ops.relu),
    "initializer": (
        keras.initializers.Zeros(),
        keras.initializers.Zeros(),
    ),
    "tensor": (keras.ops.zeros(2), keras.ops.zeros(2)),
    "class": (int, float),
    "method of a number": ((1).__add__, (2).__add__),
    "method of what Keras made": (
        keras.initializers.Zeros().get_config,
        keras.initializers.Zeros().get_config,
    ),
}


@pytest.mark.parametrize("name", REPLACED)
def test_another_value_is_seen(name):
    first, second = REPLACED[name]
    layer = layer_with(first)
    before = attributes.of_layer(layer)
    # It shows at once that nothing has changed.
    assert attributes.of_layer(layer, before) is before
    layer.value = second
    assert attributes.of_layer(layer, before) != before


@pytest.mark.parametrize(
    "value", [1000, (1.5, "a"), [1.5], {"a": [2.5]}, np.ones(2)], ids=repr
)
def test_an_equal_value_is_no_change(value):
    layer = layer_with(value)
    before = attributes.of_layer(layer)
    layer.value = eval(repr(value), {"array": np.array})
    assert attributes.of_layer(layer, before) == before


def test_attributes_that_come_and_go_are_seen():
    layer = layer_with(1)
    before = attributes.of_layer(layer)
    layer.other = 2
    after = attributes.of_layer(layer, before)
    assert after != before
    del layer.other
    assert attributes.of_layer(layer, after) == before


def test_stock_layers_show_at_once_that_nothing_has_changed():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(2, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Reshape((16, 2)),
            layers.LSTM(2, dropout=0.5),
            layers.Dense(2),
        ]
    )
    before = survey.of(model).fingerprint
    after = survey.of(model).fingerprint_after(before)
    assert after == before == survey.of(model).fingerprint
    for layer in model.layers:
        assert after.by_layer[id(layer)] is before.by_layer[id(layer)], layer


def test_a_later_prediction_reads_no_layer_again(monkeypatch):
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(2), layers.Dropout(0.5)]
    )
    x = np.ones((2, 2), "float32")
    settings = {"kind": "regression", "seed": 0, "verbose": 0}
    for _ in range(2):
        kerasdrop.mc_predict(model, x, 2, **settings)
    read = []
    plain = attributes._chosen
    monkeypatch.setattr(
        attributes, "_chosen", lambda one: read.append(one) or plain(one)
    )
    kerasdrop.mc_predict(model, x, 2, **settings)
    assert not read
    model.layers[1].rate = 0.4
    kerasdrop.mc_predict(model, x, 2, **settings)
    assert model.layers[1] in read
