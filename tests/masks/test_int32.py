"""The two forms of the shifts have the same bits, and so have all words."""

import numpy as np
import pytest
from keras import ops

from kerasdrop import _backend
from kerasdrop import functional
from kerasdrop import masks
from kerasdrop.masks import int32

FORMS = pytest.mark.parametrize("divides", [False, True])

# Bits at random, the corners, and each power of two with its neighbours.
WORDS = np.concatenate(
    [
        np.random.default_rng(0).integers(-(2**31), 2**31, 4096),
        [-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1],
        *(
            sign * 2**bit + np.arange(-1, 2)
            for bit in range(31)
            for sign in (-1, 1)
        ),
    ]
).astype("int32")


def of_words(function, by):
    """What `function` makes of the words, which it may overwrite."""
    words = ops.convert_to_tensor(WORDS.copy())
    return ops.convert_to_numpy(function(words, by))


@FORMS
@pytest.mark.parametrize("by", range(1, 32))
def test_a_shift_is_that_of_unsigned_words(divides, by):
    expected = (WORDS.view("uint32") >> np.uint32(by)).view("int32")

    with _backend.exporting(divides):
        shifted = of_words(int32.shifted, by)

    np.testing.assert_array_equal(shifted, expected)


@FORMS
@pytest.mark.parametrize("by", range(1, 32))
def test_a_signed_shift_is_that_of_signed_words(divides, by):
    with _backend.exporting(divides):
        shifted = of_words(int32.signed_shifted, by)

    np.testing.assert_array_equal(shifted, WORDS >> by)


@FORMS
@pytest.mark.parametrize("count", range(1, 31))
def test_low_bits_are_those_of_a_mask(divides, count):
    with _backend.exporting(divides):
        low = of_words(int32.low_bits, count)

    np.testing.assert_array_equal(low, WORDS & ((1 << count) - 1))


@pytest.mark.parametrize(
    "divide",
    [
        lambda words, by: np.floor(words.astype("float32") / np.float32(by)),
        lambda words, by: np.trunc(words / by),
    ],
    ids=["in float32", "towards 0"],
)
@pytest.mark.parametrize("by", range(1, 32))
def test_a_runtime_may_divide_inexactly(monkeypatch, divide, by):
    def floor_divide(words, divisor):
        # 2**31 is no int32, and some runtimes saturate there.
        quotient = divide(ops.convert_to_numpy(words), divisor)
        return ops.convert_to_tensor(quotient.astype("int32"))

    monkeypatch.setattr(ops, "floor_divide", floor_divide)
    expected = (WORDS.view("uint32") >> np.uint32(by)).view("int32")

    with _backend.exporting(divides=True):
        shifted = of_words(int32.shifted, by)

    np.testing.assert_array_equal(shifted, expected)


@pytest.mark.parametrize("set_size", [None, 4, 16, 256])
def test_words_and_noise_are_the_same_in_both_forms(set_size):
    index = ops.convert_to_tensor(np.arange(600, dtype="int32"))
    rows = ops.convert_to_tensor(np.arange(600, dtype="int32") % 7)
    draw = masks.Draw(masks.key_of_seed(5), index, rows, set_size)
    inputs = ops.zeros((600, 3, 5))

    def drawn():
        words = masks.words(draw, (600, 3, 5))
        noise = functional.normal(draw, inputs)
        return ops.convert_to_numpy(words), ops.convert_to_numpy(noise)

    words, noise = drawn()
    with _backend.exporting(divides=True):
        divided_words, divided_noise = drawn()

    np.testing.assert_array_equal(divided_words, words)
    np.testing.assert_allclose(divided_noise, noise, rtol=1e-5, atol=1e-6)


@FORMS
@pytest.mark.parametrize("seed", [0, 1, 12345, 2**31 - 1, -1, -(2**31)])
def test_the_key_of_a_tensor_is_that_of_the_seed(divides, seed):
    with _backend.exporting(divides):
        key = masks.key_of_seed_tensor(ops.convert_to_tensor(seed, "int32"))

    key = ops.convert_to_numpy(key)
    assert key.dtype == "int32"
    np.testing.assert_array_equal(key, masks.key_of_seed(seed))


def test_the_form_ends_with_the_block():
    def fail():
        with _backend.exporting(divides=True):
            assert _backend.divides()
            with _backend.exporting():
                assert not _backend.divides()
            assert _backend.divides()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert not _backend.divides()
    assert not _backend.is_exporting()
