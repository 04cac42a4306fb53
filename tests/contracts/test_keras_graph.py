"""What `_keras_graph` believes of Keras' private graph."""

import keras
import numpy as np
from keras import layers

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


def test_the_last_operations_are_those_that_make_the_outputs():
    (operation,) = _keras_graph.last_operations(diamond())
    assert operation.name == "add"
