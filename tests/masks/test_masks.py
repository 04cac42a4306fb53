"""The words and keep masks themselves: exact values, shapes, dtypes, rates.

Their statistics are in test_mask_statistics.py, their equality on the three
backends in test_masks_across_backends.py.
"""

import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers
from kerasdrop import masks
from kerasdrop.masks import keeping
from kerasdrop.masks import threefry
from kerasdrop.masks import uniform
from tests.support import known_masks
from tests.support.compiling import MODES
from tests.support.compiling import compiled

BACKEND = keras.backend.backend()
INT32_MIN = -(2**31)


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def words_of(seed, shape, index=0, rows=None):
    draw = masks.Draw(masks.key_of_seed(seed), index, rows)
    return to_numpy(masks.words(draw, shape))


def keep_of(
    seed, rate, shape, index=0, rows=None, dtype="float32", noise_shape=None
):
    draw = masks.Draw(masks.key_of_seed(seed), int32(index), rows)
    inputs = ops.zeros(shape, dtype)
    return to_numpy(masks.keep_mask(draw, float32(rate), inputs, noise_shape))


def int32(value):
    return ops.convert_to_tensor(np.asarray(value, "int32"))


def float32(value):
    return ops.convert_to_tensor(np.float32(value))


def gradient(function, value):
    """d function / d value, both scalars or `value` an array."""
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.grad(function)(ops.convert_to_tensor(value)))
    if BACKEND == "torch":
        point = ops.convert_to_tensor(value).requires_grad_()
        function(point).backward()
        return to_numpy(point.grad)
    import tensorflow as tf

    point = tf.Variable(value)
    with tf.GradientTape() as tape:
        result = function(point)
    return tape.gradient(result, point).numpy()


# Exact values


# Random123's file kat_vectors, lines "threefry2x32 20".
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        (
            (0x243F6A88, 0x85A308D3),
            (0x13198A2E, 0x03707344),
            (0xC4923A9C, 0x483DF7A0),
        ),
    ],
)
def test_threefry_gives_its_published_vectors(counter, key, expected):
    assert threefry.threefry_2x32(key, counter) == expected


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32, 2**63 - 1])
def test_the_key_of_a_seed_is_its_threefry(seed):
    pairs = [
        [known_masks.signed(word) for word in pair]
        for pair in known_masks.key_of_seed(seed)
    ]

    key = masks.key_of_seed(seed)

    assert key[..., 0].tolist() == pairs


def test_the_keys_of_an_array_of_seeds_are_those_of_its_seeds():
    seeds = [0, 1, -1, 2**31, 2**32 + 5, 2**63 - 1, -(2**63)]
    keys = masks.key_of_seed(np.array(seeds, "int64"))
    np.testing.assert_array_equal(
        keys, [masks.key_of_seed(seed) for seed in seeds]
    )


def test_a_negative_seed_is_its_64_bit_complement():
    expected = masks.key_of_seed(2**64 - 7)

    assert np.array_equal(masks.key_of_seed(-7), expected)


def test_all_64_bits_of_a_seed_count():
    seeds = [0, *(1 << bit for bit in range(64)), *(-(1 << b) for b in (0, 1))]

    keys = {masks.key_of_seed(seed).tobytes() for seed in seeds}

    assert len(keys) == len(seeds)


@pytest.mark.parametrize("place", known_masks.WORDS)
def test_words_are_the_stored_ones(place):
    seed, index, row, unit = place
    rows = np.array([row], "int32")

    words = words_of(seed, (1, unit + 1), np.int32(index), rows)

    assert words[0, unit] == known_masks.WORDS[place]


@pytest.mark.parametrize("place", known_masks.WORDS)
def test_the_stored_words_are_those_of_the_definition(place):
    seed, *coordinates = place

    word = known_masks.word(known_masks.key_of_seed(seed), *coordinates)

    assert known_masks.signed(word) == known_masks.WORDS[place]


def test_the_words_of_a_tensor_are_those_of_the_definition():
    key = known_masks.key_of_seed(99)
    expected = [
        known_masks.signed(known_masks.word(key, 5, row, unit))
        for row in range(3)
        for unit in range(2 * 4)
    ]

    words = words_of(99, (3, 2, 4), 5)

    assert words.ravel().tolist() == expected


def test_a_derived_key_is_that_of_the_definition():
    pairs = known_masks.derived_key(known_masks.key_of_seed(3), 8)
    expected = [[known_masks.signed(word) for word in pair] for pair in pairs]

    key = to_numpy(masks.derived_key(masks.key_of_seed(3), 8))

    assert key[..., 0].tolist() == expected


@pytest.mark.parametrize("seed", [0, 7, -1, 2**40, 2**63 - 1])
def test_derived_seeds_are_those_of_the_definition(seed):
    derived = [masks.derived_seed(seed, index) for index in range(3)]
    expected = [known_masks.derived_seed(seed, index) for index in range(3)]
    assert derived == expected
    assert len({seed, *derived}) == 4
    assert masks.derived_seed(None, 0) is None


def test_derived_keys_differ_from_each_other_and_their_parent():
    root = masks.key_of_seed(0)
    keys = [root] + [
        to_numpy(masks.derived_key(root, index)) for index in range(200)
    ]

    assert len({word for key in keys for word in key.ravel()}) == 4 * 201


def test_the_keep_mask_is_the_stored_one():
    expected = [[mark == "x" for mark in row] for row in known_masks.KEEP_MASK]

    keep = keep_of(2024, 0.3, (4, 16), index=3)

    assert keep.tolist() == expected


@pytest.mark.parametrize("num_units", [2**16 - 1, 2**16, 2**16 + 1])
def test_unit_keys_are_the_same_stored_or_computed(num_units):
    key_of_last = known_masks.triple32(num_units - 1, 0x243F6A88, 0x85A308D3)

    keys = to_numpy(masks.unit_keys(num_units, int32(0)))

    assert keys.shape == (num_units,)
    assert keys[-1] == known_masks.signed(key_of_last)


# One mask, however it is computed

# PyTorch's own, when torch.compile is used first.
_ignores_torch_jit = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)


@_ignores_torch_jit
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_gives_the_stored_mask(mode):
    expected = [[mark == "x" for mark in row] for row in known_masks.KEEP_MASK]

    @compiled(mode)
    def mask(key, index, rate, inputs):
        return masks.keep_mask(masks.Draw(key, index), rate, inputs)

    key = ops.convert_to_tensor(masks.key_of_seed(2024))
    keep = mask(key, int32(3), float32(0.3), ops.zeros((4, 16)))

    assert to_numpy(keep).tolist() == expected


@_ignores_torch_jit
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_gives_the_same_words_for_computed_unit_keys(mode):
    # More units than are stored, in two axes: other code makes their keys.
    shape = (2, 300, 300)
    expected = words_of(11, shape, 4)

    @compiled(mode)
    def words(key, index):
        return masks.words(masks.Draw(key, index), shape)

    result = words(ops.convert_to_tensor(masks.key_of_seed(11)), int32(4))

    assert np.array_equal(to_numpy(result), expected)


# JAX refuses float64 by default: tests/masks/test_masks_across_backends.py.
_DTYPES = ("float16", "bfloat16") + (("float64",) if BACKEND != "jax" else ())


@pytest.mark.parametrize("rate", [0.001, 0.3, 0.999])
@pytest.mark.parametrize("dtype", _DTYPES)
def test_the_mask_does_not_depend_on_the_dtype(dtype, rate):
    expected = keep_of(1, rate, (512, 256))

    keep = keep_of(1, rate, (512, 256), dtype=dtype)

    assert np.array_equal(keep, expected)


@pytest.mark.parametrize("dtype", _DTYPES)
def test_a_layer_of_any_dtype_drops_the_same_units(dtype):
    ones = np.ones((64, 32), "float32")
    expected = to_numpy(layers.Dropout(0.3, seed=6)(ones, training=True)) == 0

    layer = layers.Dropout(0.3, seed=6, dtype=dtype)
    outputs = layer(ops.cast(ones, dtype), training=True)

    dropped = to_numpy(ops.cast(outputs, "float32")) == 0
    assert np.array_equal(dropped, expected)


@pytest.mark.parametrize("num_rows", [1, 2, 17, 64])
def test_a_row_has_the_same_mask_in_a_batch_of_any_size(num_rows):
    expected = keep_of(4, 0.5, (100, 33))[:num_rows]

    assert np.array_equal(keep_of(4, 0.5, (num_rows, 33)), expected)


def test_a_unit_has_the_same_word_in_a_row_of_any_width():
    expected = words_of(4, (6, 100))[:, :33]

    assert np.array_equal(words_of(4, (6, 33)), expected)


def test_rows_may_be_given_as_data():
    places = np.array([5, 0, 99, 5], "int32")
    expected = keep_of(4, 0.5, (100, 33))[places]

    keep = keep_of(4, 0.5, (4, 33), rows=int32(places))

    assert np.array_equal(keep, expected)


def test_each_row_may_have_its_own_index():
    expected = np.stack([keep_of(4, 0.5, (3, 33), 7 + i)[i] for i in range(3)])

    keep = keep_of(4, 0.5, (3, 33), index=[7, 8, 9])

    assert np.array_equal(keep, expected)


@pytest.mark.parametrize("shape", [(7, 6), (7, 3, 2), (7, 1, 3, 1, 2, 1)])
def test_the_units_of_a_row_are_counted_over_its_axes(shape):
    expected = words_of(8, (7, 6)).reshape(shape)

    assert np.array_equal(words_of(8, shape), expected)


@pytest.mark.parametrize("rank", range(7))
def test_inputs_of_rank_0_to_6(rank):
    shape = (2, 3, 1, 2, 3, 2)[:rank]
    place = (1, 2, 0, 1, 2, 1)[:rank]
    unit = np.ravel_multi_index(place[1:], shape[1:]) if rank > 1 else 0
    row = place[0] if rank else 0
    key = known_masks.key_of_seed(8)
    expected = known_masks.signed(known_masks.word(key, 0, row, int(unit)))

    words = words_of(8, shape)

    assert words.shape == shape
    assert words[place] == expected


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0,), (0, 3, 2)])
def test_an_empty_batch_has_an_empty_mask(shape):
    keep = keep_of(0, 0.5, shape)

    assert keep.shape == shape
    assert keep.dtype == bool


@pytest.mark.parametrize(
    ("noise_shape", "mask_shape"),
    [
        ((None, 1, None), (4, 1, 3)),
        ((None, None, 1), (4, 5, 1)),
        ((1, None, None), (1, 5, 3)),
        ((4, 5, 3), (4, 5, 3)),
        ((1, 1, 1), (1, 1, 1)),
    ],
)
def test_the_mask_takes_the_noise_shape(noise_shape, mask_shape):
    expected = keep_of(0, 0.5, mask_shape)

    keep = keep_of(0, 0.5, (4, 5, 3), noise_shape=noise_shape)

    assert np.array_equal(keep, expected)


def test_a_layer_broadcasts_the_mask_of_its_noise_shape():
    inputs = np.ones((4, 5, 3), "float32")
    keep = np.broadcast_to(keep_of(2, 0.5, (4, 1, 3)), inputs.shape)

    layer = layers.Dropout(0.5, noise_shape=(None, 1, None), seed=2)
    outputs = to_numpy(layer(inputs, training=True))

    assert np.array_equal(outputs, 2.0 * keep)


# The rate

RATES = (0.0, 2.0**-31, 1e-6, 0.001, 0.1, 0.3, 0.5, 0.9, 1 - 2.0**-24)


def unfinished(words):
    """What the last step of the hash, a xorshift by 16, makes `words` of."""
    return int32(words ^ ((words >> 16) & 0xFFFF))


def replace_words(words, at_hand, monkeypatch):
    """Words are those of a function of a draw and a shape, or arrays of them.

    Arrays are read on PyTorch alone.
    """

    def array(draw, shape):
        return to_numpy(unfinished(words(draw, shape))) if at_hand else None

    def tensor(draw, shape, units):
        return unfinished(words(draw, shape))

    monkeypatch.setattr(uniform, "_words_at_hand", array)
    monkeypatch.setattr(uniform, "_unfinished_words", tensor)


@pytest.mark.parametrize("at_hand", [False, True], ids=["tensor", "array"])
@pytest.mark.parametrize("rate", RATES)
def test_the_threshold_is_the_float32_rate_to_31_bits(
    rate, at_hand, monkeypatch
):
    # Of all 2**32 words the lowest `threshold` are dropped; so
    # P(drop) = threshold / 2**32 = floor(rate * 2**31) / 2**31.
    threshold = 2 * math.floor(float(np.float32(rate)) * 2**31)
    places = np.array([threshold - 1, threshold, 2**32 - 1], "int64")
    places = places[places >= 0]  # rate 0 has none below
    given = (places + INT32_MIN).astype("int32")
    replace_words(lambda *_: given, at_hand, monkeypatch)

    draw = masks.Draw(None, None)
    keep = keeping._keep(
        ops.zeros(places.shape), *draw[:5], float32(rate), None
    )

    assert to_numpy(keep).tolist() == (places >= threshold).tolist()


def test_at_a_higher_rate_no_dropped_unit_comes_back():
    rates = (0.0, 0.001, 0.1, 0.11, 0.5, 0.9, 1.0)

    keeps = [keep_of(5, rate, (128, 128)) for rate in rates]

    for lower, higher in itertools.pairwise(keeps):
        assert not np.any(higher & ~lower)


def test_at_rate_0_the_outputs_are_the_inputs():
    # (Denormal numbers are zeros to some backends, whatever the layer.)
    inputs = np.array([[np.inf, -0.0, 2e-38, 3e38, -1.1, 0.1]], "float32")
    layer = layers.Dropout(0.0, seed=0)

    outputs = to_numpy(layer(inputs, training=True))

    assert outputs.tobytes() == inputs.tobytes()


def test_at_rate_1_the_outputs_are_zeros():
    inputs = np.array([[np.inf, -np.inf, 0.0, 3e38, -1.1, 0.1]], "float32")
    layer = layers.Dropout(1.0, seed=0)

    outputs = to_numpy(layer(inputs, training=True))

    assert np.array_equal(outputs, np.zeros_like(inputs))


# Of this seed the word of row 250 and unit 148 is among the 256 highest, which
# the highest rate below 1 keeps.
_SEED_OF_HIGHEST = 1


def test_at_rate_1_no_word_is_kept():
    shape = (256, 512)

    below = keep_of(_SEED_OF_HIGHEST, 1 - 2**-24, shape)
    keep = keep_of(_SEED_OF_HIGHEST, 1.0, shape)

    assert np.argwhere(below).tolist() == [[250, 148]]
    assert not keep.any()


@pytest.mark.parametrize("make", [layers.Dropout, layers.ClassicDropout])
def test_at_rate_1_the_highest_word_makes_a_zero(make):
    layer = make(1.0, seed=_SEED_OF_HIGHEST)

    outputs = to_numpy(layer(np.full((256, 512), np.inf), training=True))

    assert np.array_equal(outputs, np.zeros((256, 512)))


@pytest.mark.parametrize("set_size", [None, 16])
@pytest.mark.parametrize("num_samples", [1, 16])
@pytest.mark.parametrize("at_hand", [False, True], ids=["tensor", "array"])
def test_at_rate_1_no_sample_keeps_the_highest_word(
    set_size, num_samples, at_hand, monkeypatch
):
    def highest(draw, shape):
        num_rows = masks.row_keys(draw, shape[0]).shape[1]
        # Of a set the place in a stratum is highest, all of whose bits are 1.
        word = np.int32(2**31 - 1 if set_size is None else -1)
        return np.full((num_rows, *shape[1:]), word)

    replace_words(highest, at_hand, monkeypatch)
    index = int32(range(16))
    draw = masks.Draw(
        masks.key_of_seed(0), index, index * 0, set_size, num_samples
    )

    def keep_at(rate):
        # Not what is fused, which may be compiled already.
        keep = keeping._keep(ops.zeros((16, 3)), *draw[:5], float32(rate), None)
        return to_numpy(keep)

    assert keep_at(1 - 2**-24).any()
    assert not keep_at(1.0).any()


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_the_gradient_is_the_scaled_mask(rate):
    inputs = np.ones((16, 8), "float32")
    keep = keep_of(3, rate, inputs.shape)
    scale = np.float32(1.0 / (1.0 - rate)) if rate < 1.0 else 0.0
    layer = layers.Dropout(rate, seed=3)

    slope = gradient(lambda x: ops.sum(layer(x, training=True)), inputs)

    np.testing.assert_allclose(slope, keep * scale, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_the_gradient_of_the_scale_in_a_variable_rate_is_finite(rate):
    # d/dr 1 / (1 - r) = 1 / (1 - r)**2; at rate 1 the scale is the constant 0.
    expected = 1.0 / (1.0 - rate) ** 2 if rate < 1.0 else 0.0

    slope = gradient(
        lambda r: masks.survivor_scale(r, "float32"), np.float32(rate)
    )

    assert slope == pytest.approx(expected, rel=1e-5)


def test_a_rate_that_is_nan_shows_in_the_outputs():
    scale = masks.survivor_scale(float32(float("nan")), "float32")
    keep = keep_of(0, float("nan"), (8, 8))

    assert np.isnan(to_numpy(scale))
    assert keep.all()


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5])
def test_the_scale_is_rounded_once_in_a_half_precision_dtype(rate):
    exact = 1.0 / (1.0 - float(np.float32(rate)))
    expected = to_numpy(ops.cast(ops.cast(exact, "bfloat16"), "float32"))

    scale = masks.survivor_scale(float32(rate), "bfloat16")

    assert to_numpy(ops.cast(scale, "float32")) == expected


# Backends


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's graphs")
class TestTensorFlow:
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_one_trace_serves_all_steps_and_rates(self, jit_compile):
        import tensorflow as tf

        layer = layers.Dropout(0.5, seed=0)
        traces = []

        @tf.function(jit_compile=jit_compile)
        def step(inputs):
            traces.append(inputs.shape)
            return layer(inputs, training=True)

        inputs = tf.ones((8, 4))
        for rate in (0.5, 0.1, 1.0):
            layer.rate = rate
            step(inputs)

        assert len(traces) == 1

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_an_unknown_batch_size_gives_the_same_rows(self, jit_compile):
        import tensorflow as tf

        @tf.function(
            input_signature=[tf.TensorSpec((None, 33))],
            jit_compile=jit_compile,
        )
        def mask(inputs):
            draw = masks.Draw(masks.key_of_seed(4), tf.constant(0))
            return masks.keep_mask(draw, tf.constant(0.5), inputs)

        for num_rows in (3, 100, 0):
            expected = keep_of(4, 0.5, (num_rows, 33))
            assert np.array_equal(mask(tf.zeros((num_rows, 33))), expected)

    def test_an_unknown_width_gives_the_same_units(self):
        import tensorflow as tf

        @tf.function(input_signature=[tf.TensorSpec((None, None, 4))])
        def mask(inputs):
            draw = masks.Draw(masks.key_of_seed(4), tf.constant(0))
            return masks.keep_mask(draw, tf.constant(0.5), inputs)

        expected = keep_of(4, 0.5, (5, 7, 4))
        assert np.array_equal(mask(tf.zeros((5, 7, 4))), expected)

    def test_eager_steps_do_not_trace_the_mask_again(self, monkeypatch):
        import tensorflow as tf

        traces = []
        original = masks.words
        monkeypatch.setattr(
            masks,
            "words",
            lambda draw, shape: traces.append(shape) or original(draw, shape),
        )
        layer = layers.Dropout(0.5, seed=0)
        inputs = tf.ones((13, 29))
        layer(inputs, training=True)
        traces.clear()

        for rate in (0.1, 0.2, 0.3):
            layer.rate = rate
            layer(inputs, training=True)

        assert traces == []


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="`torch.func` is PyTorch's"
)
def test_what_is_kept_of_a_differentiated_call_is_a_plain_tensor():
    import torch

    units = 1019  # no other test has rows of this size

    def total(x):
        return (x * ops.cast(masks.unit_keys(units, x), "float32")).sum()

    gradient = torch.func.grad(total)(torch.ones(units))
    kept = masks.unit_keys(units, torch.ones(1))
    np.testing.assert_array_equal(
        to_numpy(gradient), to_numpy(kept).astype("f")
    )
    assert kept.data_ptr()  # a wrapper of `torch.func` has none
