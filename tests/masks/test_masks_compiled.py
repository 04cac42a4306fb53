"""Compiled words are those of eager calls, whatever the compiler may suppose.

`torch.compile` writes C++, where a sum of int32 that overflows is undefined: so
none may overflow where the compiler could draw conclusions from that. On the
other backends sums wrap, compiled or not.
"""

import functools

import numpy as np
import pytest
from keras import ops

from kerasdrop import functional
from kerasdrop import masks
from tests.support.compiling import MODES
from tests.support.compiling import compiled

# PyTorch's own, when torch.compile is used first.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)

RATES = (0.0, 2**-31, 0.1, 0.3, 0.5, 15 / 16, 1 - 2**-24, 1.0)

# Rows that are folded samples, and sizes of a row: whole vectors of the
# processor, more than that and less.
SIZES = ((32, (192,)), (5, (7, 3)), (3, (6, 5, 11)), (1, (1,)))


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(
            ops.convert_to_numpy(found[name]),
            ops.convert_to_numpy(value),
            err_msg=name,
        )


def int32(values):
    return ops.convert_to_tensor(np.asarray(values).astype("int32"))


def draws_of(key, index, rows, num_samples):
    """A draw of each kind, for rows that are folded samples."""
    return {
        "training": masks.Draw(key, index[0]),
        "independent": masks.Draw(key, index, rows),
        "shared": masks.Draw(key, index, rows * 0),
        "sets": masks.Draw(key, index, rows, 16, num_samples),
        "one by one": masks.Draw(key, index, rows, 16),
    }


def first_of(draw, num_samples):
    """The first sample of each row: indices with a stride."""
    index, rows = (
        ops.reshape(of, (-1, num_samples))[:, 0]
        for of in (draw.index, draw.rows)
    )
    return draw._replace(index=index, rows=rows)


def masks_of(key, index, rows, rate, inputs, num_samples=16, names=None):
    draws = draws_of(key, index, rows, num_samples)
    names = names or [*draws, "strided"]
    keep = {
        name: masks.keep_mask(draws[name], rate, inputs)
        for name in names
        if name != "strided"
    }
    if "strided" in names:
        draw = first_of(draws["one by one"], num_samples)
        some = inputs[: inputs.shape[0] // num_samples]
        keep["strided"] = masks.keep_mask(draw, rate, some)
    return keep


def arguments(num_rows, sizes, num_samples=16):
    index = np.arange(32, 32 + num_samples)
    rows = np.arange(num_rows) * 987_654_321 % 2**31
    return (
        ops.convert_to_tensor(masks.key_of_seed(3)),
        int32(np.tile(index, num_rows)),
        int32(np.repeat(rows, num_samples)),
    ), ops.zeros((num_rows * num_samples, *sizes))


@pytest.mark.parametrize("mode", MODES[1:])
def test_masks_are_those_of_eager_calls(mode):
    run = compiled(mode, dynamic=True)(
        functools.partial(masks_of, names=("training", "sets", "strided"))
    )
    # Not SIZES: those of 1 and of another rank would be compiled anew.
    for num_rows, sizes in ((32, (192,)), (5, (7,)), (3, (330,))):
        draw, inputs = arguments(num_rows, sizes)
        for rate in RATES:
            rate = ops.convert_to_tensor(np.float32(rate))
            expected = masks_of(*draw, rate, inputs)
            for name, keep in run(*draw, rate, inputs).items():
                assert_equal({name: keep}, {name: expected[name]})


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("num_samples", [2, 16, 50])
@pytest.mark.parametrize(("num_rows", "sizes"), SIZES)
def test_masks_of_every_plan_and_size_are_those_of_eager_calls(
    mode, num_samples, num_rows, sizes
):
    draw, inputs = arguments(num_rows, sizes, num_samples)
    function = functools.partial(masks_of, num_samples=num_samples)
    run = compiled(mode, dynamic=False)(function)
    for rate in RATES:
        rate = ops.convert_to_tensor(np.float32(rate))
        found = run(*draw, rate, inputs)
        assert_equal(found, function(*draw, rate, inputs))


@pytest.mark.parametrize("mode", MODES[1:])
def test_words_and_keys_are_those_of_eager_calls(mode):
    num_samples, shape = 20, (2 * 20, 9)
    draw, _ = arguments(2, (9,), num_samples)

    def run(key, index, rows, seed):
        draws = draws_of(key, index, rows, num_samples)
        return {
            "words of sets": masks.words(draws["sets"], shape),
            "words": masks.words(draws["independent"], shape),
            "seed": masks.key_of_seed_tensor(seed),
            "child": masks.derived_key(key, index[3]),
            "row keys": masks.row_keys(draws["independent"], shape[0]),
            # More units than have a table.
            "unit keys": masks.unit_keys(2**16 + 37, key),
        }

    compiled_run = compiled(mode, dynamic=False)(run)
    for seed in (0, -1, 2**31 - 1, -(2**31)):
        found = compiled_run(*draw, int32(seed))
        assert_equal(found, run(*draw, int32(seed)))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("set_size", [4, 16, 256])
def test_words_of_each_set_size_are_those_of_eager_calls(mode, set_size):
    draw, _ = arguments(3, (), 600)

    def run(key, index, rows):
        together = masks.Draw(key, index, rows, set_size, 600)
        alone = first_of(together._replace(num_samples=1), 20)
        return {
            "together": masks.words(together, (3 * 600, 5, 2)),
            "alone": masks.words(alone, (3 * 30, 17)),
        }

    assert_equal(compiled(mode, dynamic=False)(run)(*draw), run(*draw))


@pytest.mark.parametrize("mode", MODES[1:])
def test_stratified_noise_is_that_of_eager_calls(mode):
    draw, inputs = arguments(2, (9,))

    def noise(key, index, rows):
        draw = masks.Draw(key, index, rows, 16, 16)
        return functional.normal(draw, inputs)

    # Words off by one bit are off by as much as a normal number is.
    np.testing.assert_allclose(
        ops.convert_to_numpy(compiled(mode, dynamic=False)(noise)(*draw)),
        ops.convert_to_numpy(noise(*draw)),
        rtol=1e-4,
        atol=1e-6,
    )
