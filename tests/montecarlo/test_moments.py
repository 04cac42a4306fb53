"""Streamed moments are those of all samples at once."""

import numpy as np
import pytest
from keras import ops

from kerasdrop.montecarlo import moments


def streamed(samples, chunk):
    first, *rest = (
        ops.convert_to_tensor(samples[:, start : start + chunk])
        for start in range(0, samples.shape[1], chunk)
    )
    stream = moments.start(first, set_size=chunk)
    for part in rest:
        stream = moments.add(stream, part, set_size=chunk)
    return [
        ops.convert_to_numpy(result)
        for result in (
            moments.mean(stream.samples),
            moments.variance(stream.samples),
            moments.variance(stream.set_means),
        )
    ]


@pytest.mark.parametrize("chunk", [1, 4, 32, 64])
def test_chunks_do_not_count(chunk):
    samples = np.random.default_rng(0).normal(size=(3, 64, 2))
    samples = samples.astype("float32")
    mean, variance, _ = streamed(samples, chunk)
    np.testing.assert_allclose(mean, samples.mean(1), atol=1e-6)
    np.testing.assert_allclose(variance, samples.var(1, ddof=1), rtol=1e-5)


def test_the_variance_of_set_means_is_that_of_the_means():
    samples = np.random.default_rng(0).normal(size=(3, 64, 2))
    samples = samples.astype("float32")
    _, _, between = streamed(samples, 16)
    means = samples.reshape(3, 4, 16, 2).mean(axis=2)
    np.testing.assert_allclose(between, means.var(1, ddof=1), rtol=1e-4)


def test_float32_survives_a_mean_of_1000_and_a_spread_of_a_hundredth():
    noise = np.random.default_rng(0).normal(size=(8, 4096)) * 0.01
    samples = (1000.0 + noise).astype("float32")
    mean, variance, _ = streamed(samples, 16)
    exact = samples.astype("float64")
    np.testing.assert_allclose(mean, exact.mean(1), rtol=1e-7)
    np.testing.assert_allclose(variance, exact.var(1, ddof=1), rtol=1e-3)


def test_a_single_sample_has_no_variance():
    _, variance, _ = streamed(np.ones((2, 1, 3), "float32"), 1)
    assert np.isnan(variance).all()
