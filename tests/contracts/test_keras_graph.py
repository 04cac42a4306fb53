"""What `keras_graph` believes of Keras' private graph."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

from kerasdrop._structure import keras_graph


def diamond():
    """x -> a -> b, (a, b) -> add; the nodes have one order only."""
    x = keras.Input((2,))
    a = layers.Dense(2, name="a")(x)
    b = layers.Dense(2, name="b")(a)
    return keras.Model(x, layers.Add(name="add")([a, b]))


def names(graph):
    return [node.operation.name for node in keras_graph.nodes_of(graph)]


def test_nodes_come_after_those_they_take_their_inputs_from():
    assert names(keras_graph.graph_of(diamond())) == ["a", "b", "add"]


def test_a_sequential_model_has_a_graph():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, name="a")])
    assert names(keras_graph.graph_of(model)) == ["a"]


def test_a_subclass_without_a_call_of_its_own_has_a_graph():
    class Named(keras.Model):
        pass

    x = keras.Input((2,))
    model = Named(x, layers.Dense(3, name="a")(x))
    assert names(keras_graph.graph_of(model)) == ["a"]


def test_a_subclass_with_a_call_of_its_own_has_none():
    class Twice(keras.Sequential):
        def call(self, inputs, training=None):
            return super().call(super().call(inputs))

    model = Twice([keras.Input((2,)), layers.Dense(2)])
    assert keras_graph.graph_of(model) is None


def test_a_layer_has_none():
    assert keras_graph.graph_of(layers.Dense(2)) is None


def test_calls_in_the_order_of_the_nodes_give_what_the_model_gives():
    model = diamond()
    x = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    graph = keras_graph.graph_of(model)
    values = {
        id(symbolic): tensor
        for symbolic, tensor in zip(
            graph.inputs, keras_graph.inputs_of(graph, x)
        )
    }
    for node in keras_graph.nodes_of(graph):
        args, kwargs = keras_graph.arguments_of(node, values)
        (symbolic,) = node.outputs
        values[id(symbolic)] = node.operation(*args, **kwargs)
    flat = [values[id(symbolic)] for symbolic in graph.outputs]
    outputs = keras_graph.packed_outputs(graph, flat)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(outputs),
        keras.ops.convert_to_numpy(model(x)),
        rtol=1e-6,
    )


def test_who_may_be_given_training():
    assert keras_graph.takes_training(layers.BatchNormalization())
    assert keras_graph.takes_training(layers.Dropout(0.5))
    assert not keras_graph.takes_training(layers.Flatten())


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
    (*_, node) = keras_graph.nodes_of(keras.Model(x, function(x)))
    assert keras_graph.name_of_class(node.operation) == name
    found = {key: getattr(node.operation, key) for key in attributes}
    assert found == attributes


def test_a_class_of_another_package_has_no_name_there():
    class Softmax(keras.layers.Layer):
        pass

    assert keras_graph.name_of_class(Softmax()) is None


# Of a call with a mask: an ordinary one warns as well.
ignore_masking = pytest.mark.filterwarnings(
    "ignore:Layer '.*does not support masking"
)


def inner_models():
    x = keras.Input((2,))
    functional = keras.Model(x, layers.Dense(3)(x))
    return functional, keras.Sequential([keras.Input((2,)), layers.Dense(3)])


@ignore_masking
@pytest.mark.parametrize("kind", [0, 1], ids=["functional", "sequential"])
def test_an_entrance_is_called_as_the_model_and_runs_what_it_is_told(kind):
    model = inner_models()[kind]
    seen = []

    def run(inputs, masks, prepared):
        seen.append((inputs, masks))
        (node,) = keras_graph.nodes_of(keras_graph.graph_of(model))
        return [prepared(node.operation)(*inputs) * 2.0]

    entrance = keras_graph.entrance(model, run)
    x = np.ones((4, 2), "float32")
    expected = 2.0 * keras.ops.convert_to_numpy(model(x))
    before = dict(vars(model))
    outputs = entrance(x, mask=np.array([[True]] * 4), training=False)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(outputs),
        expected,
        rtol=1e-6,
    )
    [([inputs], mask)] = seen
    assert inputs.shape == (4, 2)
    assert mask.shape == (4, 1)
    after = vars(model)
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


@pytest.mark.parametrize("kind", [0, 1], ids=["functional", "sequential"])
def test_an_entrance_hands_training_on(kind):
    told = []

    class Told(layers.Layer):
        def call(self, inputs, training=None):
            told.append(training)
            return inputs

    x = keras.Input((2,))
    layer = Told()
    model = (
        keras.Model(x, layer(x)),
        keras.Sequential([keras.Input((2,)), layer]),
    )[kind]
    told.clear()

    def run(inputs, masks, prepared):
        return [prepared(layer)(*inputs)]

    keras_graph.entrance(model, run)(np.ones((1, 2)), training=False)
    assert told == [False]


@ignore_masking
def test_the_mask_of_a_tensor_reaches_an_entrance_through_a_cast():
    x = keras.Input((2, 3))
    model = keras.Model(x, layers.Dense(1)(x))
    seen = []

    def run(inputs, masks, prepared):
        pooled = layers.GlobalAveragePooling1D()(inputs[0])
        seen.append((masks, keras.ops.convert_to_numpy(pooled)))
        return [inputs[0]]

    numbers = np.array([[[1.0] * 3, [0.0] * 3]])
    masked = layers.Masking(dtype="float16")(numbers)
    keras_graph.entrance(model, run)(masked)
    [(mask, pooled)] = seen
    assert keras.ops.convert_to_numpy(mask).tolist() == [[True, False]]
    assert pooled.tolist() == [[1.0, 1.0, 1.0]]


@ignore_masking
def test_the_arguments_of_a_call_of_a_model():
    model, _ = inner_models()
    x, mask = keras.Input((2,)), keras.Input((1,), dtype="bool")
    for outputs, expected in (
        (model(x), ("x", None)),
        (model(inputs=x, mask=mask), ("x", "mask")),
    ):
        node = keras_graph.graph_of(keras.Model([x, mask], outputs))
        (node,) = keras_graph.nodes_of(node)
        values = {id(x): "x", id(mask): "mask"}
        assert keras_graph.inputs_and_mask(node, values) == expected
