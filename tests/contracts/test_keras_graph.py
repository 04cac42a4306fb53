"""What `_keras_graph` believes of Keras' private graph."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from kerasdrop import _keras_graph


def diamond():
    """x -> a -> b, (a, b) -> add; the nodes have one order only."""
    x = keras.Input((2,))
    a = layers.Dense(2, name="a")(x)
    b = layers.Dense(2, name="b")(a)
    return keras.Model(x, layers.Add(name="add")([a, b]))


def names(graph):
    return [node.operation.name for node in _keras_graph.nodes_of(graph)]


def test_nodes_come_after_those_they_take_their_inputs_from():
    assert names(_keras_graph.graph_of(diamond())) == ["a", "b", "add"]


def test_a_sequential_model_has_a_graph():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, name="a")])
    assert names(_keras_graph.graph_of(model)) == ["a"]


def test_a_subclass_without_a_call_of_its_own_has_a_graph():
    class Named(keras.Model):
        pass

    x = keras.Input((2,))
    model = Named(x, layers.Dense(3, name="a")(x))
    assert names(_keras_graph.graph_of(model)) == ["a"]


def test_a_subclass_with_a_call_of_its_own_has_none():
    class Twice(keras.Sequential):
        def call(self, inputs, training=None):
            return super().call(super().call(inputs))

    model = Twice([keras.Input((2,)), layers.Dense(2)])
    assert _keras_graph.graph_of(model) is None


def test_a_layer_has_none():
    assert _keras_graph.graph_of(layers.Dense(2)) is None


def test_calls_in_the_order_of_the_nodes_give_what_the_model_gives():
    model = diamond()
    x = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    graph = _keras_graph.graph_of(model)
    values = {
        id(symbolic): tensor
        for symbolic, tensor in zip(
            graph.inputs, _keras_graph.inputs_of(graph, x)
        )
    }
    for node in _keras_graph.nodes_of(graph):
        args, kwargs = _keras_graph.arguments_of(node, values)
        (symbolic,) = node.outputs
        values[id(symbolic)] = node.operation(*args, **kwargs)
    flat = [values[id(symbolic)] for symbolic in graph.outputs]
    outputs = _keras_graph.packed_outputs(graph, flat)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(outputs),
        keras.ops.convert_to_numpy(model(x)),
        rtol=1e-6,
    )


def test_who_may_be_given_training():
    assert _keras_graph.takes_training(layers.BatchNormalization())
    assert _keras_graph.takes_training(layers.Dropout(0.5))
    assert not _keras_graph.takes_training(layers.Flatten())


@pytest.mark.parametrize(
    ("function", "name", "attributes"),
    [
        (lambda t: ops.softmax(t, axis=1), "Softmax", {"axis": 1}),
        (lambda t: ops.log_softmax(t, axis=1), "LogSoftmax", {"axis": 1}),
        (ops.sigmoid, "Sigmoid", {}),
        (lambda t: ops.cast(t, "float16"), "Cast", {}),
        (lambda t: ops.reshape(t, (-1, 6)), "Reshape", {}),
        (lambda t: ops.mean(t, axis=1), "Mean", {"axis": [1]}),
        (lambda t: ops.stack([t, t], axis=1), "Stack", {"axis": 1}),
        (
            lambda t: ops.concatenate([t, t], axis=1),
            "Concatenate",
            {"axis": 1},
        ),
        (lambda t: ops.transpose(t, (0, 2, 1)), "Transpose", {}),
        (lambda t: t[:, 0], "GetItem", {}),
        (lambda t: ops.squeeze(t[:, :1], 1), "Squeeze", {}),
        (lambda t: ops.expand_dims(t, 1), "ExpandDims", {}),
        (layers.Softmax(axis=1), "Softmax", {"axis": 1}),
        (
            lambda t: layers.Concatenate(axis=1)([t, t]),
            "Concatenate",
            {"axis": 1},
        ),
    ],
)
def test_operations_have_these_names_and_attributes(function, name, attributes):
    x = keras.Input((2, 3))
    (*_, node) = _keras_graph.nodes_of(keras.Model(x, function(x)))
    assert _keras_graph.name_of_class(node.operation) == name
    found = {key: getattr(node.operation, key) for key in attributes}
    assert found == attributes


def test_a_class_of_another_package_has_no_name_there():
    class Softmax(keras.layers.Layer):
        pass

    assert _keras_graph.name_of_class(Softmax()) is None
