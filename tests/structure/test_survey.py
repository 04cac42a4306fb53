"""A model is walked through once in a call, and what was found is shared."""

import collections
import dataclasses

import keras
import numpy as np
import pytest
from keras import layers as stock

import kerasdrop
from kerasdrop import layers
from kerasdrop._adapters import survey
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree


def nested():
    """A model in a model, a shared layer, a layer in a layer."""
    shared = layers.Dropout(0.5, name="shared")
    inner = keras.Sequential(
        [keras.Input((3, 4)), stock.Dense(4), shared, stock.Dense(4)]
    )
    inputs = keras.Input((3, 4))
    hidden = stock.TimeDistributed(stock.Dropout(0.5))(inner(inputs))
    return keras.Model(inputs, stock.Flatten()(shared(hidden)))


@pytest.fixture
def listed(monkeypatch):
    """How often each layer was asked by Keras' means for what it holds."""
    counts = collections.Counter()
    plain = model_tree._listed

    def counted(layer):
        counts[id(layer)] += 1
        return plain(layer)

    monkeypatch.setattr(model_tree, "_listed", counted)
    return counts


def counts_of(model, listed):
    return [listed[id(layer)] for layer in keras_graph.all_layers(model)]


def test_a_prediction_walks_through_a_model_once(listed):
    model = nested()
    x = np.ones((2, 3, 4), "float32")
    settings = {"kind": "regression", "seed": 0, "verbose": 0}
    for most in (2, 1):
        listed.clear()
        kerasdrop.mc_predict(model, x, 8, **settings)
        before = dict(listed)
        assert (
            max(before[id(one)] for one in keras_graph.all_layers(model))
            <= most
        )


def test_inspect_walks_through_a_model_once(listed):
    model = nested()
    x = np.ones((2, 3, 4), "float32")
    kerasdrop.inspect(model, x)
    assert set(listed.values()) == {1}


def test_a_survey_does_not_change_with_what_it_is_of():
    model = nested()
    before = survey.of(model)
    drawn, fingerprint = before.drawn(), before.fingerprint
    model.layers[1].layers[1].rate = 0.0  # "shared"
    model.layers[1].trainable = False

    assert [path for path, _ in before.layers[1:]] == [
        path for path, _ in model_tree.walk(model)
    ]
    assert before.fingerprint is fingerprint
    assert survey.of(model).fingerprint != fingerprint
    assert len(drawn) == 2
    assert len(before.drawn()) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.model = None


def test_what_is_surveyed_is_what_is_there(listed):
    model = nested()
    expected = list(model_tree.walk(model))
    inside = {id(layer): keras_graph.all_layers(layer) for _, layer in expected}
    listed.clear()
    with model_tree.surveyed(model):
        assert list(model_tree.walk(model)) == expected
        for _, layer in expected:
            assert keras_graph.all_layers(layer) == inside[id(layer)]
        assert set(counts_of(model, listed)) == {1}
    listed.clear()
    list(model_tree.walk(model))
    assert set(listed.values()) == {1}


def test_holders_are_those_that_hold():
    model = nested()
    drawn = survey.of(model).drawable
    wanted = set(map(id, drawn))
    expected = {
        id(layer)
        for layer in keras_graph.all_layers(model)
        if wanted & set(map(id, keras_graph.all_layers(layer)))
    }
    assert len(drawn) == 2
    assert survey.of(model).holders_of(drawn) == expected
    assert survey.of(model).holders_of(drawn[:1]) <= expected
    assert survey.of(model).holders_of([]) == set()


def test_a_model_with_a_layer_that_is_not_built_is_looked_at_each_time():
    class Late(keras.layers.Layer):
        def build(self, shape):
            self.inner = layers.Dropout(0.5)

        def call(self, inputs):
            return self.inner(inputs)

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.late = Late()
            self.built = True

        def call(self, inputs):
            return self.late(inputs)

    model = Model()
    with model_tree.surveyed(model):
        assert len(keras_graph.all_layers(model)) == 2
        model(np.ones((2, 3), "float32"))
        assert len(keras_graph.all_layers(model)) == 3


def test_a_survey_ends_with_its_block(listed):
    model = nested()

    def fail_in_a_block():
        with model_tree.surveyed(model):
            with model_tree.surveyed(nested()):
                pass
            listed.clear()
            model_tree.sublayers(model)
            assert not listed
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_a_block()
    model_tree.sublayers(model)
    assert listed[id(model)] == 1
