"""Rows that are not numbers, and targets that are no class, come out NaN."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import kerasdrop
from kerasdrop.montecarlo.statistics import quantiles

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


def test_quantiles_of_samples_some_of_which_are_nan_are_nan():
    samples = np.random.default_rng(0).normal(size=(4, 21, 2))
    samples[0, 3] = [np.nan, 0.0]
    samples[1, 20, 1] = np.nan
    samples[2, :2] = -np.inf  # an order statistic that no other one needs
    probabilities = (0.2, 0.5, 0.8)
    found, errors = (
        ops.convert_to_numpy(one)
        for one in quantiles.of_samples(
            ops.convert_to_tensor(samples.astype("float32")), probabilities
        )
    )
    expected = np.moveaxis(np.quantile(samples, probabilities, axis=1), 0, 1)
    assert np.isnan(expected[:2]).any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(errors[np.isnan(expected)]).all()


@pytest.mark.parametrize("mean", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("variance", [1.0, -1.0, np.inf, np.nan])
def test_quantiles_of_a_mixture_need_finite_moments(mean, variance):
    means = np.random.default_rng(0).normal(size=(3, 9)).astype("float32")
    variances = np.ones_like(means)
    means[1, 4] = mean
    variances[2, 4] = variance
    found, errors = quantiles.of_normal_mixture(
        ops.convert_to_tensor(means),
        ops.convert_to_tensor(variances),
        (0.1, 0.5),
    )
    is_nan = [[False] * 2, [True] * 2, [variance != 1.0] * 2]
    for one in (found, errors):
        one = ops.convert_to_numpy(one)
        np.testing.assert_array_equal(np.isnan(one), is_nan)


def test_a_message_tells_numbers_of_what_else_is_nan():
    linear = keras.Sequential(
        [keras.Input((2,)), layers.Dropout(0.5), layers.Rescaling(9.0)]
    )
    x = np.array([[np.nan, 1.0], [-1.0, 1.0]], "float32")
    for kind, message in {
        "probabilities": "a sum of -?[0-9.]+ and a minimum of -[0-9.]+$",
        "binary": "from -[0-9.]+ to [0-9.]+$",
        "mean_and_variance": "a variance of -[0-9.]+$",
    }.items():
        given = x[:, ::-1] if kind == "mean_and_variance" else x
        with pytest.raises(ValueError, match=f"Received: .*{message}"):
            kerasdrop.mc_predict(linear, given, 16, kind=kind, verbose=0)
