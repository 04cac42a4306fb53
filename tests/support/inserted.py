"""Asserts everything that holds for a model with inserted dropout."""

import re
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import insert_dropout
from kerasdrop._structure import keras_graph
from kerasdrop._structure import model_tree
from tests.support import untouched

RNG = np.random.default_rng(0)


def randomized(model):
    """Gives the model weights with which no two units are alike."""
    model.set_weights(
        [
            (
                RNG.uniform(0.2, 1.0, w.shape) / max(1, np.prod(w.shape[:-1]))
            ).astype(w.dtype)
            for w in model.get_weights()
        ]
    )
    return model


def functional(inputs, outputs, name="model"):
    return randomized(keras.Model(inputs, outputs, name=name))


def inputs_of(model, rows=3):
    return keras.tree.map_structure(
        lambda x: RNG.normal(size=(rows, *x.shape[1:])).astype("float32"),
        keras_graph.graph_of(model).input,
    )


def predict(model, x):
    return [
        ops.convert_to_numpy(ops.cast(y, "float32"))
        for y in keras.tree.flatten(model(x, training=False))
    ]


def weights_by_path(model, paths=None):
    return {
        f"{path} {number}": ops.convert_to_numpy(weight)
        for path, layer in model_tree.walk(model)
        for number, weight in enumerate(layer.weights)
        if paths is None or path in paths
    }


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def assert_reads_what_the_report_says(model, new, report, folder):
    """Loads the file of the original and compares array by array."""
    file = folder / "original.weights.h5"
    model.save_weights(file)
    expected = weights_by_path(model)
    paths = dict(model_tree.walk(model))
    randomized(new)
    if report.loads_weights:
        new.load_weights(file)
        assert_equal(weights_by_path(new, paths), expected)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # before the error
            new.load_weights(file)
    except ValueError:
        return
    with pytest.raises(AssertionError):
        assert_equal(weights_by_path(new, paths), expected)


def assert_inserted(model, tmp_path, *args, **kwargs):
    """Inserts dropout and asserts everything that must hold.

    Returns the names of the layers with dropout after them, and the results of
    `insert_dropout`.
    """
    x = inputs_of(model)
    before, state = predict(model, x), untouched.state_of(model)
    paths = dict(model_tree.walk(model))
    assert all(np.ptp(rows, axis=0).max() > 0 for rows in before)

    new, report = insert_dropout(model, *args, **kwargs)

    assert type(new) is type(model)
    np.testing.assert_equal(untouched.state_of(model), state)
    found = dict(model_tree.walk(new))
    added = {*report.inserted, *report.identities}
    assert set(found) - set(paths) == added
    assert set(paths) <= set(found)
    for path, layer in paths.items():
        assert type(found[path]) is type(layer)
        assert found[path].trainable == layer.trainable
        assert found[path] is not layer
    assert_equal(weights_by_path(new, paths), weights_by_path(model))
    for one, other in zip(predict(new, x), before):
        np.testing.assert_array_equal(one, other)
    stripped, _ = kerasdrop.strip_dropout(new)
    for one, other in zip(predict(stripped, x), before):
        np.testing.assert_array_equal(one, other)
    assert_reads_what_the_report_says(model, new, report, tmp_path)
    behind = [
        re.search("behind '(.*?)'", v)[1] for v in report.inserted.values()
    ]
    return behind, new, report
