"""Over a set of indices the words of a unit are balanced, and else random."""

import numpy as np
import pytest
from keras import ops

from kerasdrop import masks
from tests.support import known_masks

# Each one less than a prime.
SIZES = (4, 16, 256)


def stratified(indices, num_rows, num_units, size, seed=0):
    """Words as unsigned integers, `(indices, rows, units)`."""
    key = masks.key_of_seed(seed)
    rows = np.arange(num_rows, dtype="int32")
    words = [
        masks.words(
            masks.Draw(key, np.int32(index), rows, size),
            (num_rows, num_units),
        )
        for index in indices
    ]
    signed = np.stack([ops.convert_to_numpy(word) for word in words])
    return signed.astype("int64") + 2**31


@pytest.mark.parametrize("size", SIZES)
def test_the_words_are_those_of_the_definition(size):
    indices = (0, 1, size - 1, size, 3 * size + 2)
    words = stratified(indices, 3, 5, size, seed=7)

    key = known_masks.key_of_seed(7)
    for place, found in np.ndenumerate(words):
        index, row, unit = indices[place[0]], *place[1:]
        expected = known_masks.stratified_word(key, index, row, unit, size)
        assert found == known_masks.signed(expected) + 2**31


def test_each_row_may_have_its_own_index():
    key = masks.key_of_seed(0)
    rows = np.full(16, 3, "int32")
    draw = masks.Draw(key, np.arange(16, dtype="int32"), rows, 16)

    signed = ops.convert_to_numpy(masks.words(draw, (16, 5)))
    together = signed.astype("int64") + 2**31

    alone = stratified(range(16), 4, 5, 16)[:, 3]
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("size", SIZES)
def test_a_set_has_one_word_in_each_stratum(size):
    words = stratified(range(2 * size), 5, 9, size)

    strata = np.sort((words // (2**32 // size)).reshape(2, size, 5, 9), axis=1)

    expected = np.arange(size)[None, :, None, None]
    assert np.array_equal(strata, np.broadcast_to(expected, strata.shape))


@pytest.mark.parametrize("rate", [1 / 16, 1 / 4, 1 / 2])
def test_two_units_interact_as_under_random_permutations(rate):
    # Of two centred and scaled decisions that are balanced over a set of n,
    # one of them in random order, the product has the expectation 0 and
    # E[(mean over the set)^2] = (1 + 1 / (n - 1)) / n.
    num_sets, num_rows, num_units, size = 4, 64, 256, 16
    words = stratified(range(num_sets * size), num_rows, num_units, size)
    drop = (words < rate * 2**32).reshape(num_sets, size, num_rows, num_units)
    scores = (drop - rate) / (rate * (1 - rate)) ** 0.5

    means = (scores[..., ::2] * scores[..., 1::2]).mean(axis=1)

    squares = size * means**2
    error = squares.std() / squares.size**0.5
    assert abs(means.mean()) <= 5 * means.std() / means.size**0.5
    assert abs(squares.mean() - (1 + 1 / (size - 1))) <= 5 * error


def test_the_strata_of_two_sets_are_independent():
    words = stratified(range(32), 64, 256, 16).reshape(2, 16, -1)
    first, second = words // 2**28

    # Of 16 places as many as chance has it are in the same stratum: the
    # number of fixed points of a random permutation has mean and variance 1.
    matches = (first == second).sum(axis=0)

    assert abs(matches.mean() - 1) <= 5 / matches.size**0.5


@pytest.mark.parametrize("index", [0, 5])
def test_a_word_is_uniform_within_its_stratum(index):
    words = stratified([index], 256, 256, 16)

    within = (words % 2**28) / 2**28

    assert abs(within.mean() - 0.5) <= 5 * (1 / 12 / within.size) ** 0.5


@pytest.mark.parametrize("num_samples", [2, 16, 50, 64])
def test_folded_rows_have_the_words_of_single_ones(num_samples):
    key = masks.key_of_seed(3)
    rows = np.repeat(np.int32([4, 0, 9]), num_samples)
    index = np.tile(np.arange(32, 32 + num_samples, dtype="int32"), 3)
    shape = (3 * num_samples, 5, 2)

    alone, folded = (
        ops.convert_to_numpy(
            masks.words(masks.Draw(key, index, rows, 16, together), shape)
        )
        for together in (1, num_samples)
    )

    assert folded.shape == shape
    assert np.array_equal(folded, alone)


def test_the_keep_mask_is_balanced_over_a_set():
    rate = ops.convert_to_tensor(0.25, "float32")
    key = masks.key_of_seed(1)
    rows = np.zeros(16, "int32")
    draw = masks.Draw(key, np.arange(16, dtype="int32"), rows, 16)

    keep = masks.keep_mask(draw, rate, ops.zeros((16, 100)))

    dropped = 16 - ops.convert_to_numpy(keep).sum(axis=0)
    assert np.array_equal(dropped, np.full(100, 4))


@pytest.mark.parametrize("num_samples", [2, 16, 18, 50])
@pytest.mark.parametrize("rate", [0.0, 1 / 16, 0.3, 0.5, 0.95, 0.999])
def test_decisions_of_a_set_are_those_of_its_words(num_samples, rate):
    rows = np.repeat(np.int32([4, 0, 9]), num_samples)
    index = np.tile(np.arange(32, 32 + num_samples, dtype="int32"), 3)
    inputs = ops.zeros((3 * num_samples, 40, 7))
    draw = masks.Draw(masks.key_of_seed(5), index, rows, 16, num_samples)

    keep = masks.keep_mask(draw, np.float32(rate), inputs)

    words = ops.convert_to_numpy(masks.words(draw, inputs.shape))
    expected = known_masks.kept_array(words.astype("int64"), np.float32(rate))
    np.testing.assert_array_equal(ops.convert_to_numpy(keep), expected)
