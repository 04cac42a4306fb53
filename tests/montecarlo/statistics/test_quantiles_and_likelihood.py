"""Quantiles and log-likelihoods, against numpy and scipy on raw samples."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from scipy import special
from scipy import stats

import kerasdrop
from kerasdrop._formulas import log_sums
from kerasdrop.montecarlo.statistics import quantiles
from tests.support import reference

X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
PROBABILITIES = (0.1, 0.5, 0.9)
NUM_SAMPLES = 300  # more than one compiled call has


def net(last=None, units=2):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(16, activation="tanh"),
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(units, activation=last),
        ]
    )


def predict(model, kind, **settings):
    return kerasdrop.mc_predict(
        model, X, NUM_SAMPLES, seed=1, kind=kind, verbose=0, **settings
    )


@pytest.fixture(scope="module")
def model():
    return net()


@pytest.fixture(scope="module")
def raw(model):
    result = predict(model, "regression", keep_samples=True)
    return result.samples.astype("float64")


def test_quantiles_are_those_of_numpy(model, raw):
    result = predict(model, "regression", quantiles=PROBABILITIES)
    expected = np.quantile(raw, PROBABILITIES, axis=1).swapaxes(0, 1)
    np.testing.assert_allclose(result.quantiles, expected, atol=1e-5)


def test_quantiles_of_two_parts_have_the_noise_in_them(model, raw):
    result = predict(model, "mean_and_log_variance", quantiles=PROBABILITIES)
    mean, std = raw[:, None, :, 0], np.exp(raw[:, None, :, 1] / 2)
    below = stats.norm.cdf(result.quantiles, mean, std).mean(axis=2)
    np.testing.assert_allclose(below, [PROBABILITIES] * len(X), atol=1e-4)


def test_the_error_of_a_quantile_is_that_of_many_repeats():
    # Of 400 standard normals: standard deviation sqrt(p (1 - p) / n) / density.
    p, count = 0.9, 400
    samples = np.random.default_rng(1).normal(size=(2000, count))
    values, errors = quantiles.of_samples(
        ops.convert_to_tensor(samples.astype("float32")), (p,)
    )
    known = np.sqrt(p * (1 - p) / count) / stats.norm.pdf(stats.norm.ppf(p))
    # Of 2000 repeats the spread is known to 1 / sqrt(2 * 2000) = 1.6 %, and
    # the asymptotic formula holds to some percent.
    assert ops.convert_to_numpy(values).std() == pytest.approx(known, rel=0.08)
    mean_error = ops.convert_to_numpy(errors).mean()
    assert mean_error == pytest.approx(known, rel=0.08)


def test_the_error_of_a_mixtures_quantile_is_that_of_many_repeats():
    generator = np.random.default_rng(2)
    means = generator.normal(size=(2000, 100)).astype("float32")
    values, errors = quantiles.of_normal_mixture(
        ops.convert_to_tensor(means), ops.ones((2000, 100)), (0.5,)
    )
    spread = ops.convert_to_numpy(values).std()
    mean_error = ops.convert_to_numpy(errors).mean()
    assert mean_error == pytest.approx(spread, rel=0.08)


def test_too_few_samples_cannot_tell_the_error():
    samples = ops.convert_to_tensor(np.arange(8, dtype="float32")[None])
    _, errors = quantiles.of_samples(samples, (0.01, 0.5))
    errors = ops.convert_to_numpy(errors)[0]
    assert np.isnan(errors[0])
    assert errors[1] > 0.0


def test_memory_for_quantiles_is_bounded():
    model = net(units=1)
    shown = {}
    for num_samples in (1024, 2000):
        shown[num_samples] = kerasdrop.mc_predict(
            model,
            X,
            num_samples,
            seed=1,
            kind="regression",
            quantiles=0.5,
            verbose=0,
        ).quantiles
    np.testing.assert_allclose(shown[2000], shown[1024], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [(0.5, 0.1), (0.0,), (1.0,), ("a",), "a"])
def test_illegal_quantiles(model, wrong):
    with pytest.raises(ValueError, match="quantiles"):
        kerasdrop.MonteCarlo(model, kind="regression", quantiles=wrong)


def test_log_likelihood_of_normals(model, raw):
    y = np.linspace(-1, 1, len(X))[:, None]
    result = predict(model, "mean_and_log_variance", y=y)
    mean, std = raw[..., 0], np.exp(raw[..., 1] / 2)
    terms = stats.norm.logpdf(y, mean, std)
    expected = special.logsumexp(terms, axis=1) - np.log(NUM_SAMPLES)
    np.testing.assert_allclose(result.log_likelihood, expected, atol=1e-4)


def test_log_likelihood_with_a_known_noise_is_joint_over_the_outputs(
    model, raw
):
    y = np.ones((len(X), 2))
    result = predict(model, "regression", y=y, noise_variance=0.25)
    terms = stats.norm.logpdf(y[:, None], raw, 0.5).sum(axis=-1)
    expected = special.logsumexp(terms, axis=1) - np.log(NUM_SAMPLES)
    np.testing.assert_allclose(result.log_likelihood, expected, atol=1e-4)
    np.testing.assert_allclose(
        result.total_variance, 0.25 + reference.variance(raw), rtol=1e-4
    )


def test_a_likelihood_far_from_all_samples_is_no_infinity(model, raw):
    y = np.full((len(X), 2), 100.0)
    result = predict(model, "regression", y=y, noise_variance=0.25)
    terms = stats.norm.logpdf(y[:, None], raw, 0.5).sum(axis=-1)
    expected = special.logsumexp(terms, axis=1) - np.log(NUM_SAMPLES)
    np.testing.assert_allclose(result.log_likelihood, expected, rtol=1e-4)


def test_merged_sums_are_those_of_all_terms():
    terms = np.random.default_rng(0).normal(size=(3, 40)) * 50
    terms = terms.astype("float32")
    terms[0] = -np.inf
    one, other = (
        log_sums.init(ops.convert_to_tensor(part))
        for part in (terms[:, :7], terms[:, 7:])
    )
    merged = log_sums.result(log_sums.merge(one, other), 40)
    expected = special.logsumexp(terms, axis=1) - np.log(40)
    np.testing.assert_allclose(
        ops.convert_to_numpy(merged), expected, rtol=1e-5
    )


@pytest.mark.parametrize("form", ["integers", "column", "one-hot"])
def test_log_likelihood_of_classes(form):
    model = net("softmax", 3)
    y = np.array([0, 1, 2, 1, 0])
    given = {"integers": y, "column": y[:, None], "one-hot": np.eye(3)[y]}
    result = predict(model, "probabilities", y=given[form])
    expected = np.log(result.mean[np.arange(len(y)), y])
    np.testing.assert_allclose(result.log_likelihood, expected, rtol=1e-5)


def test_log_likelihood_of_yes_and_no():
    model = net("sigmoid", 1)
    y = np.array([0, 1, 1, 0, 1])
    result = predict(model, "binary", y=y)
    p = result.mean[:, 0]
    expected = np.log(np.where(y == 1, p, 1 - p))[:, None]
    np.testing.assert_allclose(result.log_likelihood, expected, rtol=1e-4)


def test_a_likelihood_without_a_variance_is_refused(model):
    with pytest.raises(ValueError, match="Pass `noise_variance`"):
        predict(model, "regression", y=np.ones((len(X), 2)))


def test_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="a class number each"):
        predict(net("softmax", 3), "probabilities", y=np.ones((len(X), 7)))


def test_a_noise_variance_for_classes_is_refused():
    with pytest.raises(ValueError, match="is for outputs of kind 'regression'"):
        kerasdrop.MonteCarlo(net("softmax"), noise_variance=1.0)


def test_targets_may_come_with_an_axis_of_one_and_without():
    # TensorFlow would make one function of both, for an unknown rank.
    model, yes = net("sigmoid", units=1), np.array([0, 1, 1, 0, 1])
    one, other = (
        predict(model, "binary", y=y).log_likelihood
        for y in (yes[:, None], yes)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_noise_variance_is_for_the_outputs_that_are_regressions():
    x = keras.Input((3,))
    h = kerasdrop.layers.Dropout(0.5)(layers.Dense(16)(x))
    model = keras.Model(
        x,
        {
            "class": layers.Dense(2, activation="softmax")(h),
            "number": layers.Dense(1)(h),
        },
    )
    y = {"class": np.arange(5) % 2, "number": np.ones((5, 1), "float32")}
    result = predict(model, None, y=y, noise_variance=0.5, keep_samples=True)
    samples = result.samples["number"].astype("float64")[..., 0]
    densities = stats.norm.pdf(1.0, samples, 0.5**0.5)
    np.testing.assert_allclose(
        result.log_likelihood["number"],
        np.log(densities.mean(axis=1)),
        rtol=1e-4,
        atol=1e-4,
    )
    chosen = result.mean["class"][np.arange(5), y["class"]]
    np.testing.assert_allclose(
        result.log_likelihood["class"], np.log(chosen), rtol=1e-4, atol=1e-5
    )
    assert set(result.total_variance) == {"number"}
