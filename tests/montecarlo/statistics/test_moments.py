"""Streamed moments are those of all samples at once."""

import numpy as np
import pytest
from keras import ops

from kerasdrop.montecarlo.statistics import moments
from kerasdrop.montecarlo.statistics import running


def parts_of(samples, sizes):
    ends = np.cumsum(sizes)
    assert ends[-1] == samples.shape[1]
    return [
        ops.convert_to_tensor(samples[:, end - size : end])
        for size, end in zip(sizes, ends)
    ]


def streamed(samples, sizes, set_size=16, rest=0):
    """Mean and variance of the samples, and variance of the set means.

    Args:
        sizes: The samples in each chunk.
        rest: How many at the end of the first chunk belong to no set.
    """
    first, *others = parts_of(samples, sizes)
    stream = moments.init(first, set_size, rest)
    for part in others:
        stream = moments.update(stream, part, set_size)
    return [
        ops.convert_to_numpy(result)
        for result in (
            moments.result(stream).mean,
            variance(stream.samples),
            variance(stream.set_means),
        )
    ]


def variance(found):
    return found.squares / (found.count - 1.0)


def normals(samples=64, seed=0):
    noise = np.random.default_rng(seed).normal(size=(3, samples, 2))
    return noise.astype("float32")


@pytest.mark.parametrize("chunk", [1, 2, 4, 8, 16, 32, 64])
def test_chunks_do_not_count(chunk):
    samples = normals()
    sizes = [chunk] * (64 // chunk)
    mean, variance, between = streamed(samples, sizes)
    np.testing.assert_allclose(mean, samples.mean(1), atol=1e-6)
    np.testing.assert_allclose(variance, samples.var(1, ddof=1), rtol=1e-5)
    means = samples.reshape(3, 4, 16, 2).mean(axis=2)
    np.testing.assert_allclose(between, means.var(1, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 4, 16, 64])
@pytest.mark.parametrize("place", [0, 5, 63])
def test_infinite_and_missing_samples(chunk, place):
    samples = normals()
    samples[0, place] = [np.inf, -np.inf]
    samples[1, place] = [np.nan, 0.0]
    samples[2, place] = samples[2, 7] = np.inf
    sizes = [chunk] * (64 // chunk)
    mean, variance, _ = streamed(samples, sizes)
    np.testing.assert_allclose(mean, samples.mean(1), atol=1e-6)
    np.testing.assert_array_equal(
        np.isnan(variance), ~np.isfinite(samples.sum(1))
    )
    first, *others = parts_of(samples, sizes)
    found, count = running.init(first), first.shape[1]
    for part in others:
        count += part.shape[1]
        counts = ops.full((3, 1), float(count))
        found = running.update(found, part, counts)
    found = ops.convert_to_numpy(found)
    np.testing.assert_allclose(found, samples.mean(1), atol=1e-6)


@pytest.mark.parametrize("chunks", [(50,), (34, 16), (10, 8, 8, 8, 16)])
def test_the_rest_is_in_the_moments_of_samples_alone(chunks):
    rest = 2
    samples = normals(50)
    mean, variance, between = streamed(samples, chunks, rest=rest)
    np.testing.assert_allclose(mean, samples.mean(1), atol=1e-6)
    np.testing.assert_allclose(variance, samples.var(1, ddof=1), rtol=1e-5)
    in_sets = np.delete(samples, np.s_[chunks[0] - rest : chunks[0]], axis=1)
    means = in_sets.reshape(3, 3, 16, 2).mean(axis=2)
    np.testing.assert_allclose(between, means.var(1, ddof=1), rtol=1e-4)


def test_the_rest_may_come_in_parts_too():
    samples = normals(21)
    sets, *others = parts_of(samples, [16, 4, 1])
    stream = moments.init(sets, 16)
    for part in others:
        stream = moments.update(stream, part, 16, rest=part.shape[1])
    found = ops.convert_to_numpy(variance(stream.samples))
    np.testing.assert_allclose(found, samples.var(1, ddof=1), rtol=1e-5)
    assert ops.convert_to_numpy(stream.set_means.count).max() == 1
    assert ops.convert_to_numpy(stream.part.count).max() == 0


def test_a_set_that_is_not_whole_yet_has_no_mean():
    stream = moments.init(ops.convert_to_tensor(normals(8)), 16)
    assert ops.convert_to_numpy(stream.set_means.count).max() == 0
    assert ops.convert_to_numpy(stream.part.count).min() == 8
    stream = moments.update(stream, ops.convert_to_tensor(normals(8)), 16)
    assert ops.convert_to_numpy(stream.set_means.count).min() == 1
    assert ops.convert_to_numpy(stream.part.count).max() == 0


@pytest.mark.parametrize("size", [3, 5, 12, 24])
def test_a_chunk_that_is_no_part_of_a_set_is_refused(size):
    with pytest.raises(ValueError, match="whole sets of 16 samples, or a part"):
        moments.init(ops.convert_to_tensor(normals(size)), 16)


def test_a_running_mean_of_small_probabilities_keeps_its_digits():
    # Relative to a first sample of .9 those of 1e-12 would be lost.
    samples = np.full((1, 32, 2), 1e-12, "float32")
    samples[0, 0, 0] = 0.9
    first, second = parts_of(samples, (16, 16))
    mean = running.update(running.init(first), second, ops.full((1, 1), 32.0))
    found = ops.convert_to_numpy(mean)
    np.testing.assert_allclose(found, samples.mean(1), rtol=1e-6)


@pytest.mark.parametrize("sizes", [(40,), (16, 24), (1, 7, 32)])
def test_a_running_mean(sizes):
    samples = normals(40)
    first, *others = parts_of(samples, sizes)
    mean, count = running.init(first), first.shape[1]
    for part in others:
        count += part.shape[1]
        mean = running.update(mean, part, ops.full((3, 1), float(count)))
    np.testing.assert_allclose(
        ops.convert_to_numpy(mean), samples.mean(1), atol=1e-6
    )


def test_float32_survives_a_mean_of_1000_and_a_spread_of_a_hundredth():
    noise = np.random.default_rng(0).normal(size=(8, 4096)) * 0.01
    samples = (1000.0 + noise).astype("float32")
    mean, variance, _ = streamed(samples, [16] * 256)
    exact = samples.astype("float64")
    np.testing.assert_allclose(mean, exact.mean(1), rtol=1e-7)
    np.testing.assert_allclose(variance, exact.var(1, ddof=1), rtol=1e-3)
