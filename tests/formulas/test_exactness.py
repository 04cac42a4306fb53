"""Numbers that rounding would spoil: tiny probabilities, large means, edges.

Expected are float64 formulas of numpy, by `log1p` and `logsumexp`.
"""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import special
from scipy import stats

import kerasdrop
from kerasdrop import _backend
from kerasdrop import calibration
from kerasdrop import measures
from kerasdrop import metrics
from kerasdrop._formulas import categorical
from tests.support import reference

GENERATOR = np.random.default_rng(0)
AS_GIVEN = pytest.mark.parametrize(
    "given", [np.asarray, ops.convert_to_tensor], ids=["array", "tensor"]
)


def numpy(value):
    return ops.convert_to_numpy(value)


def constant(bias, last=None):
    """A model whose outputs are the same in each sample."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            kerasdrop.layers.Dropout(0.5),
            keras.layers.Dense(len(bias), activation=last),
        ]
    )
    model.set_weights([np.zeros((4, len(bias))), np.array(bias)])
    return model


def predict(model, y=None, **settings):
    settings = {"num_samples": 33, "verbose": 0, **settings}
    x = np.ones((2, 4), "float32")
    return kerasdrop.mc_predict(model, x, y=y, **settings)


# Logits, in log space.


@pytest.mark.parametrize(
    "y", [np.array([1, 0]), np.array([[0.0, 1.0], [1.0, 0.0]])]
)
def test_logits_far_from_the_target_have_a_likelihood(y):
    result = predict(constant([0.0, -120.0]), y, kind="logits")
    np.testing.assert_allclose(result.log_likelihood, [-120.0, 0.0], atol=1e-6)


def test_the_likelihood_of_logits_is_that_of_the_mean_of_softmaxes():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            kerasdrop.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    kernel = GENERATOR.normal(size=(4, 3)) * 5
    model.set_weights([kernel, np.array([0.0, -60.0, -200.0])])
    y = np.array([1, 2])
    settings = {"num_samples": 48, "seed": 1}
    raw = predict(model, kind="regression", keep_samples=True, **settings)
    logits = raw.samples.astype("float64")
    terms = special.log_softmax(logits, axis=-1)[[0, 1], :, y]
    expected = special.logsumexp(terms, axis=1) - np.log(48)
    assert expected.min() < -30.0
    result = predict(model, y, kind="logits", **settings)
    np.testing.assert_allclose(result.log_likelihood, expected, rtol=1e-4)


def test_a_target_that_is_no_class_has_no_likelihood():
    result = predict(constant([0.0, 1.0]), np.array([7, 0]), kind="logits")
    assert np.isnan(result.log_likelihood[0])
    assert np.isfinite(result.log_likelihood[1])


@pytest.mark.parametrize("as_column", [False, True])
def test_the_log_loss_metric_of_logits(as_column):
    y = np.array([1, 0])
    if as_column:  # of one logit, that of the second class
        logits = np.array([[-120.0], [-120.0]], "float32")
    else:
        logits = np.array([[0.0, -120.0], [0.0, -120.0]], "float32")
    metric = metrics.NegativeLogLikelihood(from_logits=True)
    metric.update_state(y, logits)
    assert float(metric.result()) == pytest.approx(60.0, rel=1e-6)
    keras_own = keras.metrics.SparseCategoricalCrossentropy(from_logits=True)
    if not as_column:
        keras_own.update_state(y, logits)
        assert float(keras_own.result()) == pytest.approx(60.0, rel=1e-6)
    metric.update_state(np.array([5]), logits[:1])
    assert np.isnan(float(metric.result()))


def test_the_entropy_metric_of_one_sure_logit():
    # Of a sigmoid, 1 - 2e-9 would be rounded to 1, of no entropy.
    for z in (20.0, -20.0):
        p = special.expit(-20.0)
        metric = metrics.Entropy(from_logits=True)
        metric.update_state(np.array([0]), np.array([[z]], "float32"))
        expected = stats.entropy([p, 1 - p])
        assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("log_variance", [-200.0, -120.0, 3.0])
def test_a_log_variance_too_small_for_its_dtype(log_variance):
    expected = -0.5 * (log_variance + np.log(2 * np.pi))
    y = np.array([[2.0], [2.0]])
    model = constant([2.0, log_variance])
    result = predict(model, y, kind="mean_and_log_variance")
    np.testing.assert_allclose(result.log_likelihood, expected, rtol=1e-6)
    metric = metrics.GaussianNegativeLogLikelihood("mean_and_log_variance")
    metric.update_state(y[:1], np.array([[2.0, log_variance]], "float32"))
    assert float(metric.result()) == pytest.approx(-expected, rel=1e-6)


def test_log_variances_by_the_density_of_scipy():
    y = np.array([[1.0], [2.5]])
    log_variance = -7.0
    result = predict(
        constant([2.0, log_variance]), y, kind="mean_and_log_variance"
    )
    expected = stats.norm.logpdf(y[:, 0], 2.0, np.exp(log_variance / 2))
    np.testing.assert_allclose(result.log_likelihood, expected, rtol=1e-5)


# Far from 0.


FAR = 1e6 + GENERATOR.normal(size=(4, 1000))


@AS_GIVEN
def test_measures_of_samples_far_from_0(given):
    samples = FAR.astype("float32")
    y = np.full(4, 1e6 + 0.5, "float32")
    exact = samples.astype("float64")
    found = numpy(measures.epistemic_variance(given(samples)))
    np.testing.assert_allclose(found, exact.var(axis=1, ddof=1), rtol=1e-5)
    found = numpy(measures.total_variance(given(samples), given(samples)))
    np.testing.assert_allclose(found, 1e6, rtol=1e-4)
    crps = calibration.sample_crps(given(y), given(samples), reduction=None)
    distance = np.abs(exact - y[:, None]).mean(axis=1)
    pairs = np.abs(exact[:, :, None] - exact[:, None]).mean(axis=(1, 2))
    np.testing.assert_allclose(numpy(crps), distance - pairs / 2, rtol=1e-4)


def test_the_first_sample_may_be_far_from_the_others():
    samples = FAR.astype("float32")
    samples[:, 0] = 0.0
    expected = samples.astype("float64").var(axis=1, ddof=1)
    found = measures.epistemic_variance(ops.convert_to_tensor(samples))
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-4)


# Information and entropies.


def almost_equal(classes=5, size=1e-6):
    p = GENERATOR.dirichlet(np.ones(classes), size=(200, 1))
    p = p * (1 + size * GENERATOR.normal(size=(200, 30, classes)))
    return p / p.sum(axis=-1, keepdims=True)


@AS_GIVEN
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-6, 1e-3, 0.1])
def test_information_is_at_least_0(given, dtype, size):
    samples = almost_equal(size=size).astype(dtype)
    found = numpy(measures.mutual_information(given(samples)))
    assert found.min() >= 0.0
    yes = numpy(measures.mutual_information(given(samples[..., :1])))
    assert yes.min() >= 0.0


@AS_GIVEN
@pytest.mark.parametrize("size", [1e-5, 1e-3, 0.03, 0.1, 0.5])
def test_small_information_has_its_digits(given, size):
    samples = np.abs(almost_equal(size=size))
    samples = (samples / samples.sum(-1, keepdims=True)).astype("float32")
    p = samples.astype("float64")
    mean = p.mean(axis=1, keepdims=True)
    terms = special.kl_div(p, mean)  # with - p + m, as ours
    expected = terms.sum(axis=-1).mean(axis=1)
    found = numpy(measures.mutual_information(given(samples)))
    # A mean in float32 is 1e-7 off, and its square counts.
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-13)


@pytest.mark.parametrize("kind", ["probabilities", "logits", "binary"])
# 400 samples of 20 rows are drawn in two chunks, which are merged.
@pytest.mark.parametrize("num_samples", [50, 400])
def test_the_engine_has_the_information_of_its_samples(kind, num_samples):
    last = {"probabilities": "softmax", "binary": "sigmoid"}.get(kind)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            kerasdrop.layers.Dropout(0.5),
            keras.layers.Dense(3, activation=last, use_bias=False),
        ]
    )
    x = GENERATOR.normal(size=(20, 4)).astype("float32")
    kernel = GENERATOR.normal(size=(4, 3))
    for scale in (1e-4, 1.0, 30.0):
        model.set_weights([scale * kernel])
        result = kerasdrop.mc_predict(
            model,
            x,
            num_samples,
            seed=1,
            kind=kind,
            keep_samples=True,
            verbose=0,
        )
        p = result.samples.astype("float64")
        if kind == "binary":
            p = np.stack([p, 1 - p], axis=-1)
        mean = p.mean(axis=1, keepdims=True)
        expected = special.kl_div(p, mean).sum(axis=-1).mean(axis=1)
        assert result.mutual_information.min() >= 0.0
        np.testing.assert_allclose(
            result.mutual_information, expected, rtol=5e-3, atol=1e-12
        )
        gap = result.predictive_entropy - result.expected_entropy
        np.testing.assert_allclose(result.mutual_information, gap, atol=3e-6)


TINY = np.geomspace(1e-12, 0.5, 200)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_entropy_has_its_digits(dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 here")
    near_1 = (1.0 - np.geomspace(1e-7, 0.5, 100)).astype(dtype)
    p = np.concatenate([TINY.astype(dtype), near_1])
    exact = p.astype("float64")
    expected = special.entr(exact) - special.xlog1py(1 - exact, -exact)
    found = numpy(categorical.binary_entropy(ops.convert_to_tensor(p)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(
        categorical.binary_entropy(p), expected, rtol=1e-10
    )
    with _backend.exporting():
        found = numpy(categorical.binary_entropy(ops.convert_to_tensor(p)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    ends = ops.convert_to_tensor(np.array([0.0, 1.0], dtype))
    assert not numpy(categorical.binary_entropy(ends)).any()


@AS_GIVEN
def test_the_entropy_of_sure_classes_has_its_digits(given):
    p = np.stack([1.0 - TINY, 0.4 * TINY, 0.6 * TINY], axis=-1)
    expected = special.entr(p[:, 1:]).sum(axis=-1)
    expected -= special.xlog1py(1 - TINY, -TINY)
    for order in ([0, 1, 2], [2, 0, 1]):
        found = measures.entropy(given(p[:, order].astype("float32")))
        np.testing.assert_allclose(numpy(found), expected, rtol=1e-5)
    yes = TINY[:, None].astype("float32")
    expected = special.entr(TINY) - special.xlog1py(1 - TINY, -TINY)
    found = measures.entropy(given(yes))
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-5)


def test_a_mean_of_tiny_probabilities_has_a_likelihood():
    result = predict(constant([0.0, -60.0], "softmax"), np.array([1, 0]))
    np.testing.assert_allclose(result.log_likelihood, [-60.0, 0.0], rtol=1e-5)


def test_probabilities_near_1_have_a_variance():
    # Logits of 6 that vary by a ten-thousandth: the probability by 1e-7.
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.GaussianNoise(2e-4),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    kernel = np.zeros((4, 2))
    kernel[:, 0] = 1.0
    model.set_weights([kernel, np.array([3.0, 0.0])])
    result = predict(model, num_samples=640, seed=1, keep_samples=True)
    expected = reference.variance(result.samples)
    assert expected.max() < 1e-6**2
    np.testing.assert_allclose(result.variance, expected, rtol=1e-3)


# Edges of bins.


@AS_GIVEN
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("is_alone", [False, True])
def test_an_edge_belongs_to_the_bin_below_it(given, dtype, is_alone):
    """Each edge k / bins from 1/2 on, and its neighbours."""
    tensor = given is ops.convert_to_tensor
    if dtype == "float64" and tensor and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 here")
    # JAX compiles anew for each number of bins.
    every = (25, 77) if tensor else range(1, 101)
    for bins in every:
        numbers = np.arange(1, bins + 1)
        numbers = numbers[2 * numbers >= bins]
        edges = (numbers / bins).astype(dtype)
        if is_alone:
            others = ((bins - numbers) / bins).astype(dtype)
            p = np.concatenate([edges, others])[:, None]
            expected = np.concatenate([numbers, numbers]) - 1
        else:
            above = np.nextafter(edges[:-1], np.array(2.0, dtype))
            p = np.concatenate([edges, above])
            p = np.stack([p, 1 - p], axis=-1)
            expected = np.concatenate([numbers - 1, numbers[:-1]])
        count = np.bincount(expected, minlength=bins)
        y = np.zeros(len(p), "int32")
        found = calibration.reliability(y, given(p), bins)
        np.testing.assert_array_equal(numpy(found.weight), count)
        if bins == 25 and dtype != "float64":
            metric = metrics.ExpectedCalibrationError(bins)
            metric.update_state(y, given(p))
            found = metric.reliability()
            np.testing.assert_array_equal(found.weight, count)


def test_edges_below_one_half():
    # Of many classes, the most probable may have little.
    for bins in (25, 60, 100):
        number = bins // 5
        confidence = number / bins
        rest = np.full(9, (1 - confidence) / 9)
        p = np.concatenate([[confidence], rest])[None]
        found = calibration.reliability([0], p, bins)
        assert found.weight.argmax() == number - 1


def test_bins_of_equally_many_rows():
    confidence = GENERATOR.permutation(np.linspace(0.5, 1.0, 23))
    p = np.stack([confidence, 1 - confidence], axis=-1)
    for given in (np.asarray, ops.convert_to_tensor):
        found = calibration.reliability(
            np.zeros(23, "int32"), given(p), 5, "rows"
        )
        ranks = np.arange(23)
        expected = np.bincount(ranks * 5 // 23)
        np.testing.assert_array_equal(numpy(found.weight), expected)
