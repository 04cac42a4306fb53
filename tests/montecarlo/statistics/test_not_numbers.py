"""Rows that are not numbers, and targets that are no class, come out NaN."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop

X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
LAST = {"probabilities": "softmax", "logits": None, "binary": "sigmoid"}


def predict(kind, x=X, y=None):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4),
            kerasdrop.layers.Dropout(0.3),
            layers.Dense(2, activation=LAST[kind]),
        ]
    )
    return kerasdrop.mc_predict(model, x, 18, seed=1, kind=kind, verbose=0, y=y)


@pytest.mark.parametrize("kind", LAST)
def test_a_row_that_is_nan_claims_nothing(kind):
    x = X.copy()
    x[2, 1] = np.nan
    y = np.zeros((5, 2) if kind == "binary" else 5, "int32")
    result = predict(kind, x, y)
    assert {"votes", "variation_ratio", "log_likelihood"} <= set(result)
    for name, values in result.items():
        assert np.isnan(values[2]).all(), name
        assert np.isfinite(np.delete(values, 2, axis=0)).all(), name


@pytest.mark.parametrize("kind", LAST)
def test_a_target_that_is_no_class_has_no_likelihood(kind):
    y = np.array([0.0, 1.0, -1.0, np.nan, 7.0])
    if kind == "binary":
        y = np.stack([y, np.zeros(5)], axis=-1)
    found = predict(kind, y=y).log_likelihood
    found = found[:, 0] if kind == "binary" else found
    np.testing.assert_array_equal(
        np.isnan(found), [False, False, True, True, True]
    )
