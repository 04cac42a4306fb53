"""A draw that keeps all: each function makes what a layer has at inference."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import functional
from kerasdrop import masks

ROWS, SAMPLES = 2, 16
RATE = np.float32(0.4)


numpy = ops.convert_to_numpy


def tensor(shape, dtype="float32"):
    values = np.random.default_rng(0).normal(size=shape)
    return ops.convert_to_tensor(values.astype(dtype))


def draw_of(set_size, num_samples, keep_all):
    size = ROWS * num_samples
    return masks.Draw(
        masks.key_of_seed(3),
        ops.convert_to_tensor(np.arange(size, dtype="int32") % num_samples),
        ops.convert_to_tensor(np.arange(size, dtype="int32") // num_samples),
        set_size,
        num_samples,
        keep_all=None if keep_all is None else ops.convert_to_tensor(keep_all),
    )


DRAWS = pytest.mark.parametrize(
    ("set_size", "num_samples"),
    [(None, SAMPLES), (16, SAMPLES), (16, 1), (256, 1)],
)
# Of inputs, a draw and a rate; and what stands for it at inference.
FUNCTIONS = {
    "dropout": (functional.dropout, lambda x: x),
    "classic": (functional.classic_dropout, lambda x: x * (1 - RATE)),
    "by channel": (
        lambda x, *a: functional.dropout(x, *a, (None, 1, None)),
        lambda x: x,
    ),
    "drop path": (functional.drop_path, lambda x: x),
    "classic drop path": (
        lambda x, *a: functional.drop_path(x, *a, "classic"),
        lambda x: x * (1 - RATE),
    ),
    "blocks": (
        lambda x, *a: functional.drop_block(x, *a, (2,)),
        lambda x: x,
    ),
    "alpha": (functional.alpha_dropout, lambda x: x),
    "gaussian": (functional.gaussian_dropout, lambda x: x),
    "noise": (
        lambda x, draw, rate: functional.gaussian_noise(x, draw, rate),
        lambda x: x,
    ),
    "normal": (
        lambda x, draw, rate: functional.normal(draw, x),
        lambda x: x * 0,
    ),
    "concrete": (
        lambda x, draw, rate: functional.concrete_dropout(x, draw, rate, 2.0),
        lambda x: x,
    ),
    "mask": (
        lambda x, draw, rate: ops.cast(masks.keep_mask(draw, rate, x), x.dtype),
        lambda x: x * 0 + 1,
    ),
    "words": (
        lambda x, draw, rate: ops.cast(
            masks.words(draw, tuple(x.shape)) == 2**31 - 1, x.dtype
        ),
        lambda x: x * 0 + 1,
    ),
}


@DRAWS
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_stands_for_a_layer_at_inference(name, set_size, num_samples):
    function, at_inference = FUNCTIONS[name]
    x = tensor((ROWS * num_samples, 6, 3))
    draw = draw_of(set_size, num_samples, keep_all=True)
    found = numpy(function(x, draw, ops.convert_to_tensor(RATE)))
    np.testing.assert_allclose(found, at_inference(numpy(x)), rtol=1e-6)


@DRAWS
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_changes_if_it_is_off(name, set_size, num_samples):
    function, _ = FUNCTIONS[name]
    x, rate = tensor((ROWS * num_samples, 6, 3)), ops.convert_to_tensor(RATE)
    off = function(x, draw_of(set_size, num_samples, False), rate)
    plain = function(x, draw_of(set_size, num_samples, None), rate)
    np.testing.assert_array_equal(numpy(off), numpy(plain))
    if name != "words":
        kept = function(x, draw_of(set_size, num_samples, True), rate)
        assert (numpy(kept) != numpy(plain)).any()


def test_the_product_with_a_kernel():
    x, kernel = tensor((ROWS * SAMPLES, 4)), tensor((4, 3))
    draw = draw_of(16, SAMPLES, keep_all=True)
    found = functional.drop_connect(x, kernel, draw, RATE)
    expected = numpy(x) @ numpy(kernel)
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-5, atol=1e-6)


# JAX has no float64 unless it is switched on for the whole process.
DTYPES = ["float16", "bfloat16"]
if keras.backend.backend() != "jax":
    DTYPES.append("float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["dropout", "classic", "gaussian", "concrete"])
def test_in_other_dtypes(name, dtype):
    function, at_inference = FUNCTIONS[name]
    x = ops.cast(tensor((ROWS * SAMPLES, 6, 3)), dtype)
    rate = ops.convert_to_tensor(RATE)
    found = function(x, draw_of(16, SAMPLES, keep_all=True), rate)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    expected = at_inference(numpy(ops.cast(x, "float32")))
    rtol = 1e-6 if dtype == "float64" else 1e-2
    found = numpy(ops.cast(found, "float32"))
    np.testing.assert_allclose(found, expected, rtol=rtol)
