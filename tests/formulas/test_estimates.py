"""The variance and the standard error that samples of a plan are said to have.

The expectations are exact, from all masks of small networks and all words that
a set may have: see pair_laws.py.
"""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from scipy import stats

import kerasdrop
from kerasdrop import measures
from kerasdrop._formulas import estimates
from tests.support import pair_laws
from tests.support import reference

NETWORKS = {name: (out, rates) for name, out, rates in pair_laws.networks()}


@pytest.fixture(scope="module", params=NETWORKS)
def covariance(request):
    return pair_laws.covariances(*NETWORKS[request.param])


def seen(count, squares, set_squares, mean=0.0):
    return estimates.Seen(count, mean, squares, count // 16, set_squares)


def test_one_sample_has_the_right_law_at_each_place(covariance):
    np.testing.assert_allclose(np.diag(covariance), covariance[0, 0], rtol=1e-9)


def test_the_variance_is_unbiased(covariance):
    """It is linear in S and in that of sets: so its expectation is exact."""
    true = covariance[0, 0]
    for count in range(2, 1025):
        squares = pair_laws.expectations(covariance, count)
        found = estimates.variance("stratified", seen(count, *squares)) / true
        if count >= 32:
            assert abs(found - 1.0) <= 0.002, count
        else:
            assert abs(found - 1.0) <= 0.04, count


def test_that_of_independent_samples_is_the_usual_one():
    samples = np.random.default_rng(0).normal(size=37)
    squares = ((samples - samples.mean()) ** 2).sum()
    for plan in ("independent", "shared"):
        found = estimates.variance(plan, seen(37, squares, 0.0))
        np.testing.assert_allclose(found, samples.var(ddof=1))
        error = estimates.squared_standard_error(plan, seen(37, squares, 0.0))
        np.testing.assert_allclose(error, samples.var(ddof=1) / 37)


@pytest.mark.parametrize("plan", ["stratified", "independent"])
def test_a_single_sample_has_no_variance(plan):
    one = seen(1, 0.0, 0.0)
    assert np.isnan(estimates.variance(plan, one))
    assert np.isnan(estimates.squared_standard_error(plan, one))


def test_half_a_t_quantile():
    # The quantile of Student's t at the level of 2 of the normal.
    level = stats.norm.cdf(2.0)
    for degrees in (1, 2, 3, 5, 7, 15, 63, 1000):
        found = estimates._squared_half_t(np, float(degrees)) ** 0.5
        expected = stats.t.ppf(level, degrees) / 2
        np.testing.assert_allclose(found, expected, rtol=0.009)


@pytest.fixture(scope="module")
def net():
    generator = np.random.default_rng(3)
    model = keras.Sequential(
        [
            keras.Input((12,)),
            kerasdrop.layers.Dropout(0.3),
            layers.Dense(12, "tanh"),
            kerasdrop.layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )
    model.set_weights(
        [
            generator.normal(size=(12, 12)) / 3,
            np.zeros(12),
            generator.normal(size=(12, 1)),
            np.zeros(1),
        ]
    )
    return model


def of_equal_rows(net, num_samples, rows=4000, **settings):
    x = np.ones((rows, 12), "float32")
    return kerasdrop.mc_predict(
        net, x, num_samples, seed=0, batch_size=rows, verbose=0, **settings
    )


@pytest.mark.parametrize("num_samples", [1, 2, 5, 16, 31, 32, 47, 50, 64])
@pytest.mark.parametrize("plan", ["stratified", "independent"])
def test_what_a_prediction_says_is_what_its_samples_say(net, num_samples, plan):
    result = of_equal_rows(
        net, num_samples, 3, plan=plan, keep_samples=True, kind="regression"
    )
    if num_samples == 1:
        assert np.isnan(result.variance).all()
        assert np.isnan(result.standard_error).all()
        return
    variance = reference.variance(result.samples, plan)
    error = reference.standard_error(result.samples, plan)
    np.testing.assert_allclose(result.variance, variance, rtol=1e-4)
    np.testing.assert_allclose(result.standard_error, error, rtol=1e-3)
    for samples in (result.samples, ops.convert_to_tensor(result.samples)):
        found = measures.epistemic_variance(samples, plan=plan)
        found = ops.convert_to_numpy(found)
        np.testing.assert_allclose(found, variance, rtol=1e-4)


def test_twice_the_standard_error_covers(net):
    """Of 4,000 equal rows, each an independent repetition."""
    parts = of_equal_rows(net, 4096, 100).mean
    true = parts.mean(dtype="float64")
    for num_samples, most in ((32, 2.4), (48, 1.8), (64, 1.6), (100, 1.3)):
        result = of_equal_rows(net, num_samples)
        error = np.abs(result.mean - true)
        covered = (error <= 2 * result.standard_error).mean()
        assert 0.93 < covered < 0.98, num_samples
        claim = result.standard_error.mean() / np.sqrt((error**2).mean())
        assert 1.0 < claim < most, num_samples


def test_the_rounding_of_a_mean_far_from_0_is_in_its_error():
    # One float32 in 1e6 is .06 away from the next.
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.GaussianNoise(0.1),
            layers.Rescaling(1.0, offset=1e6),
        ]
    )
    x = np.linspace(0.0, 1.0, 200, dtype="float32")[:, None]
    result = kerasdrop.mc_predict(
        model, x, 1024, seed=0, plan="independent", kind="regression", verbose=0
    )
    # In float64, or what is expected would be rounded as well.
    off = np.abs(result.mean.astype("float64") - (1e6 + x.astype("float64")))
    assert off.max() > 0.02  # there is something to be said
    assert (off <= 2 * result.standard_error).mean() > 0.95
    assert result.standard_error.max() < 0.05


def test_equal_samples_have_an_error_of_a_rounding():
    result = kerasdrop.mc_predict(
        keras.Sequential([keras.Input((2,)), kerasdrop.layers.Dropout(0.5)]),
        np.zeros((2, 2), "float32"),
        kind="regression",
        verbose=0,
        verify=False,  # which would warn that nothing has an effect
    )
    np.testing.assert_array_equal(result.standard_error, np.zeros((2, 2)))
    assert result.num_samples == 48


def test_without_a_word_48_samples_are_drawn(net):
    assert kerasdrop.MonteCarlo(net).num_samples == 48
    assert kerasdrop.MonteCarlo(net, tolerance=0.1).num_samples == 1024
    config = kerasdrop.MonteCarlo(net).get_config()
    assert config["num_samples"] == 48
