"""The words behave like independent fair coins wherever a mask could notice.

Every bound is five standard deviations of what independent words would give;
where many figures are judged at once, the level of five sigma is divided among
them (Bonferroni). The words are deterministic, so a test that passes once
always passes. Longer streams are for the batteries, see
benchmarks/statistics/bits.py.
"""

import statistics

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers
from kerasdrop import masks
from kerasdrop.masks import draws
from tests.support import helpers

RATES = (0.1, 0.5)


def words_of(draw, shape):
    return ops.convert_to_numpy(masks.words(draw, shape))


def scores(words, rate):
    """Keep decisions, centred and scaled to variance 1."""
    threshold = int(rate * 2**31) * 2 - 2**31
    keep = (words >= threshold).astype("float32")
    kept = 1.0 - rate
    return (keep - np.float32(kept)) / np.float32((kept * rate) ** 0.5)


def bound(comparisons=1):
    """The absolute standard score that chance exceeds as seldom as 5 sigma."""
    five_sigma = 2.0 * statistics.NormalDist().cdf(-5.0)
    tail = five_sigma / comparisons / 2.0
    return -statistics.NormalDist().inv_cdf(tail)


def assert_uncorrelated(first, second):
    """Asserts that the mean product of two arrays of scores is 0."""
    product = np.mean(first * second, dtype="float64")

    assert abs(product) * first.size**0.5 <= 5.0


def assert_independent_pairs(samples):
    """Asserts that no two of the series in `samples` (series, length) agree.

    Two statistics of the correlations of all pairs, each `1 / sqrt(length)`
    times a standard score: the largest, and the sum of their squares. That sum
    is also the sum over all rectangles (two series, two places in them) of
    the products of their four corners.
    """
    num_series, length = samples.shape
    pairs = np.triu_indices(num_series, 1)
    z = (samples @ samples.T)[pairs].astype("float64") / length**0.5
    assert np.abs(z).max() <= bound(z.size)

    # With kurtosis k: Var z**2 = 2 + (k**2 - 3) / length, and two pairs that
    # share a series have Cov = (k - 1) / length.
    kurtosis = np.mean(samples**4, dtype="float64")
    variance = 2.0 + (kurtosis**2 - 3.0) / length
    variance += 2.0 * (num_series - 2) * (kurtosis - 1.0) / length
    deviation = (variance / z.size) ** 0.5
    assert abs(np.mean(z**2) - 1.0) <= 5.0 * deviation


def series(kind):
    """Words of 1024 series of 4096 places each.

    Rows of one mask; a row in successive steps, seeds, layers; units over many
    rows; one unit over many steps.
    """
    root = masks.key_of_seed(1)
    if kind == "rows":
        return words_of(masks.Draw(root, 0), (1024, 4096))
    if kind == "steps":
        steps = np.arange(1024, dtype="int32")
        draw = masks.Draw(root, steps, np.zeros(1024, "int32"))
        return words_of(draw, (1024, 4096))
    if kind == "units":
        return words_of(masks.Draw(root, 0), (4096, 1024)).T
    if kind == "units over steps":
        steps = np.arange(4096, dtype="int32")
        draw = masks.Draw(root, steps, np.zeros(4096, "int32"))
        return words_of(draw, (4096, 1024)).T
    if kind == "seeds":
        keys = [masks.key_of_seed(seed) for seed in range(128)]
    else:
        keys = [masks.derived_key(root, layer) for layer in range(128)]
    blocks = [words_of(masks.Draw(key, 0), (8, 4096)) for key in keys]
    return np.concatenate(blocks)


KINDS = ("rows", "steps", "units", "units over steps", "seeds", "layers")


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_two_series_of_words_depend_on_each_other(kind, rate):
    assert_independent_pairs(scores(series(kind), rate))


def test_low_bits_are_independent_as_well():
    # Other layers use them for more than a keep decision.
    lowest = np.left_shift(series("units"), 31)

    assert_independent_pairs(scores(lowest, 0.5))


def test_dependent_series_are_found():
    words = series("rows")
    # One pair of half a million, and in it every tenth place.
    words[1, ::10] = words[0, ::10]

    with pytest.raises(AssertionError):
        assert_independent_pairs(scores(words, 0.5))


def test_dependent_rectangles_are_found():
    # Signs of rows times signs of units: each series is fair, and no two
    # places of it agree, but every rectangle has the product 1.
    signs = scores(series("rows"), 0.5)
    rank_1 = signs[:, :1] * signs[:1]
    rank_1[:, 32:] = signs[:, 32:]

    with pytest.raises(AssertionError):
        assert_independent_pairs(rank_1)


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1024, 1024), (500_000, 2), (1, 2**16)])
def test_the_proportion_of_dropped_units_is_the_rate(shape, rate):
    draw = masks.Draw(masks.key_of_seed(2), ops.cast(5, "int32"))
    inputs = ops.zeros(shape)

    keep = masks.keep_mask(
        draw, ops.convert_to_tensor(np.float32(rate)), inputs
    )

    helpers.assert_proportion(~ops.convert_to_numpy(keep), rate)


def test_each_bit_is_fair():
    words = series("rows").view("uint32")

    for bit in range(32):
        helpers.assert_proportion((words >> np.uint32(bit)) & 1 == 1, 0.5)


def test_words_are_uniform():
    # chi-squared of 1024 equal cells: mean 1023, variance 2 * 1023.
    words = series("seeds")
    counts = np.bincount((words.ravel() >> 22) + 512, minlength=1024).astype(
        "float64"
    )
    expected = words.size / 1024

    chi_squared = np.sum((counts - expected) ** 2) / expected

    assert abs(chi_squared - 1023) <= 5.0 * (2 * 1023) ** 0.5


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 7, 8, 16, 32, 256, 512])
def test_neighbours_are_independent(lag, rate):
    for kind in ("rows", "steps"):
        values = scores(series(kind), rate)

        assert_uncorrelated(values[:, :-lag], values[:, lag:])
        assert_uncorrelated(values[:-lag], values[lag:])


@pytest.mark.parametrize("lag", [1, 2, 4, 256])
def test_the_corners_of_narrow_rectangles_are_independent(lag):
    for kind in ("rows", "steps", "seeds", "layers"):
        values = scores(series(kind), 0.5)
        edges = values[:-lag] * values[lag:]

        assert_uncorrelated(edges[:, :-lag], edges[:, lag:])
        assert_uncorrelated(edges[:, :-1], edges[:, 1:])


def test_random_rectangles_are_independent():
    generator = np.random.default_rng(0)
    values = scores(series("rows"), 0.1)
    rows = generator.integers(1024, size=(2, 4_000_000))
    units = generator.integers(4096, size=(2, 4_000_000))
    proper = (rows[0] != rows[1]) & (units[0] != units[1])
    (top, bottom), (left, right) = rows[:, proper], units[:, proper]

    assert_uncorrelated(
        values[top, left] * values[top, right],
        values[bottom, left] * values[bottom, right],
    )


def windows(bits):
    """All runs of 64 successive bits of each row of `bits`, as integers."""
    runs = []
    for start in range(8):
        whole = (bits.shape[1] - start) // 8 * 8
        packed = np.packbits(bits[:, start : start + whole], axis=1)
        octets = np.lib.stride_tricks.sliding_window_view(packed, 8, axis=1)
        runs.append(np.ascontiguousarray(octets).view("uint64").ravel())
    return np.concatenate(runs)


def test_layers_with_successive_seeds_share_no_mask_at_any_lag():
    # 96 seeds, 8 steps of 16 x 128 units each. Among n runs of 64 fair bits
    # two agree by chance with probability n**2 / 2**65: here below 1e-7.
    steps = np.repeat(np.arange(8, dtype="int32"), 16)
    rows = np.tile(np.arange(16, dtype="int32"), 8)
    bits = np.stack(
        [
            words_of(
                masks.Draw(masks.key_of_seed(seed), steps, rows), (128, 128)
            ).ravel()
            >= 0
            for seed in range(96)
        ]
    )

    runs = windows(bits)

    assert runs.size > 1_500_000
    assert np.unique(runs).size == runs.size


def test_a_shared_mask_is_found_at_any_lag():
    bits = np.random.default_rng(0).random((2, 4096)) < 0.5
    bits[1, 1000:1100] = bits[0, 37:137]

    runs = windows(bits)

    assert np.unique(runs).size < runs.size


def test_no_two_unseeded_layers_share_a_mask():
    ones = np.ones((8, 64), "float32")
    outputs = [
        ops.convert_to_numpy(layers.Dropout(0.5)(ones, training=True))
        for _ in range(50)
    ]

    rows = {row.tobytes() for output in outputs for row in output}

    assert len(rows) == 50 * 8


def test_unseeded_layers_are_reproducible_by_the_global_seed():
    def outputs():
        keras.utils.set_random_seed(7)
        ones = np.ones((8, 64), "float32")
        first, second = layers.Dropout(0.5), layers.Dropout(0.5)
        return [
            ops.convert_to_numpy(layer(ones, training=True)).tolist()
            for layer in (first, second)
        ]

    assert outputs() == outputs()


# Differences of keys by whose decisions are correlated, as in the docstring of
# `kerasdrop.masks`: at the rates .5, .25 and .1.
WEAK = {
    (2**31 + 2**15,): (0.199, 0.098, -0.056),
    (2**29 + 2**13, 2**29 - 2**13): (-0.02, -0.014, 0.0),
    (0x60000000 + 2**13, 0x60000000 - 2**13): (-0.016, -0.011, -0.005),
    (2**30 + 2**14, 2**30 - 2**14): (0.0, 0.012, 0.0),
    (2**28 + 2**12, 2**28 - 2**12): (-0.009, -0.007, 0.0),
}


def weak_pairs(num_units):
    """How many pairs of units have keys of such differences: a list."""
    like = ops.zeros((), "int32")
    keys = ops.convert_to_numpy(masks.unit_keys(num_units, like))
    keys = keys.view("uint32")
    return [
        sum(
            np.intersect1d(keys, keys + np.uint32(difference)).size
            for difference in differences
        )
        for differences in WEAK
    ]


@pytest.mark.parametrize(
    ("num_units", "pairs"),
    [
        (10_000, [0, 1, 0, 0, 0]),
        (53_442, [0, 2, 1, 0, 1]),
        (2**16, [1, 3, 1, 0, 1]),
        (2**18, [16, 30, 29, 33, 30]),
    ],
)
def test_the_known_weak_pairs_of_units_are_as_few_as_documented(
    num_units, pairs
):
    assert weak_pairs(num_units) == pairs


@pytest.mark.parametrize(
    ("difference", "correlations"),
    [
        (difference, correlations)
        for differences, correlations in WEAK.items()
        for difference in differences
    ],
)
def test_a_weak_pair_is_correlated_as_documented(
    difference, correlations, monkeypatch
):
    keys = np.array([12345, 12345 + difference], "uint32").view("int32")
    monkeypatch.setattr(
        draws, "unit_keys", lambda num_units, like: ops.convert_to_tensor(keys)
    )
    words = words_of(masks.Draw(masks.key_of_seed(0), 0), (2**20, 2))
    for rate, correlation in zip((0.5, 0.25, 0.1), correlations):
        first, second = scores(words, rate).T
        observed = np.mean(first * second, dtype="float64")
        # Five sigma of 2**20 rows; a correlation of 0 may be .005.
        allowed = 0.005 if correlation else 0.01
        np.testing.assert_allclose(observed, correlation, rtol=0, atol=allowed)
