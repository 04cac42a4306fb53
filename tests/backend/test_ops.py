"""What stands for `keras.ops` on PyTorch gives what `keras.ops` gives."""

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop import _backend

FLOATS = np.array(
    [[0.5, -2.5, np.nan], [np.inf, 1.5, -0.0]],
    "float32",
)
POSITIVE = np.array([[0.25, 3.0, 0.0], [7.0, np.nan, 1.0]], "float32")
INTEGERS = np.array([[3, -1, 2], [0, 5, -4]], "int32")
BOOLS = INTEGERS > 0

CALLS = {
    **{
        f"{name} of floats": (name, [FLOATS], {})
        for name in ("abs", "square", "round", "logical_not", "sqrt")
    },
    **{name: (name, [POSITIVE], {}) for name in ("log", "log1p")},
    "abs of integers": ("abs", [INTEGERS], {}),
    "sqrt of integers": ("sqrt", [np.abs(INTEGERS)], {}),
    "log of half precision": ("log", [POSITIVE.astype("float16")], {}),
    **{
        f"{name} {size}": (name, [x], {"axis": axis, "keepdims": keepdims})
        for name in ("sum", "mean", "max", "min")
        for size, x, axis, keepdims in (
            ("of all", POSITIVE, None, False),
            ("of rows", POSITIVE, -1, False),
            ("of both axes", FLOATS, (0, 1), True),
            ("of columns of integers", INTEGERS, 0, True),
        )
    },
    "sum of booleans": ("sum", [BOOLS], {"axis": 0}),
    "sum over no axis": ("sum", [FLOATS], {"axis": ()}),
    "sum of nothing": ("sum", [FLOATS[:0]], {"axis": 0}),
    **{
        f"{name} {what}": (name, [x, y], {})
        for name in ("maximum", "minimum")
        for what, x, y in (
            ("and a number", FLOATS, 0.0),
            ("and an integer", FLOATS, 1),
            ("of two", FLOATS, POSITIVE),
            ("of two dtypes", FLOATS, INTEGERS),
            ("of precisions", FLOATS, POSITIVE.astype("float64")),
            ("of a number first", 1.0, FLOATS),
            ("of integers", INTEGERS, 2.5),
        )
    },
    "not of booleans": ("logical_not", [BOOLS], {}),
    "and of booleans": ("logical_and", [BOOLS, ~BOOLS[:1]], {}),
    "or of numbers": ("logical_or", [BOOLS, INTEGERS], {}),
    **{
        f"where {what}": ("where", [condition, x, y], {})
        for what, condition, x, y in (
            ("a number", BOOLS, FLOATS, 0.0),
            ("a number first", BOOLS, np.nan, FLOATS),
            ("an integer", BOOLS, FLOATS, 1),
            ("an integer beside integers", BOOLS, INTEGERS, 3),
            ("a fraction beside integers", BOOLS, INTEGERS, 0.5),
            ("two", BOOLS, FLOATS, POSITIVE[:1]),
            ("two dtypes", BOOLS, FLOATS, INTEGERS),
            ("two numbers", BOOLS, 1.0, 0.0),
            ("by numbers", INTEGERS, FLOATS, 0.0),
            ("in half precision", BOOLS, FLOATS.astype("float16"), 0.1),
        )
    },
    "expand_dims": ("expand_dims", [FLOATS, -1], {}),
    "expand_dims by two": ("expand_dims", [FLOATS, (0, 2)], {}),
    "reshape": ("reshape", [FLOATS, (3, -1)], {}),
    "reshape to a number": ("reshape", [FLOATS, -1], {}),
    "cast": ("cast", [FLOATS[1:, 1:], "int32"], {}),
    "cast to booleans": ("cast", [INTEGERS, "bool"], {}),
    "cast of a number": ("cast", [0.5, "float16"], {}),
    "zeros_like": ("zeros_like", [FLOATS], {}),
    "zeros_like of booleans": ("zeros_like", [INTEGERS], {"dtype": "bool"}),
    **{
        f"repeat of axis {axis}": ("repeat", [FLOATS, 3], {"axis": axis})
        for axis in (None, 0, 1, -1)
    },
}


def tensors(values):
    return [
        ops.convert_to_tensor(value) if isinstance(value, np.ndarray) else value
        for value in values
    ]


@pytest.mark.parametrize("name", CALLS)
def test_a_function_gives_what_that_of_keras_gives(name):
    function, args, kwargs = CALLS[name]
    found = getattr(_backend.ops, function)(*tensors(args), **kwargs)
    expected = getattr(ops, function)(*tensors(args), **kwargs)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(
        ops.convert_to_numpy(found), ops.convert_to_numpy(expected)
    )


@pytest.mark.parametrize("name", ["where", "maximum", "expand_dims", "sum"])
def test_a_function_takes_symbolic_tensors(name):
    x = keras.KerasTensor((None, 3))
    args = {
        "where": [keras.KerasTensor((None, 3), "bool"), x, 0.0],
        "maximum": [x, 0.0],
        "expand_dims": [x, -1],
        "sum": [x, -1],
    }[name]
    found = getattr(_backend.ops, name)(*args)
    assert found.shape == getattr(ops, name)(*args).shape


def test_the_shape_of_a_tensor():
    assert _backend.ops.shape(ops.convert_to_tensor(FLOATS)) == (2, 3)
    assert _backend.ops.shape(keras.KerasTensor((None, 3))) == (None, 3)


def test_entries_of_a_table():
    table = np.arange(100, 110, dtype="int16")
    places = np.array([[[3, 0, 9]], [[5, 5, 1]]], "int32")
    found = _backend.entries(*tensors([table, places]))
    np.testing.assert_array_equal(ops.convert_to_numpy(found), table[places])
    assert keras.backend.standardize_dtype(found.dtype) == "int16"


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="tensors are not written into"
)
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("repeats", [1, 3])
def test_what_is_repeated_can_be_written_into(size, repeats):
    # Rows and samples of one alone could be a view of what is repeated.
    x = ops.ones((size, 4))
    repeated = _backend.ops.repeat(x, repeats, 0)
    repeated.add_(1.0)
    np.testing.assert_array_equal(x, np.ones((size, 4)))
    np.testing.assert_array_equal(repeated, np.full((size * repeats, 4), 2.0))


class WritesIntoInputs(keras.layers.Layer):
    """As modules of PyTorch with `inplace=True` do."""

    def call(self, drawn, plain):
        return drawn + plain.add_(1.0)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="tensors are not written into"
)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_layer_may_write_into_what_all_samples_share(rows):
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(4)(inputs)
    drawn = keras.layers.Dense(4)(keras.layers.Dropout(1e-9)(shared))
    model = keras.Model(inputs, WritesIntoInputs()(drawn, shared))
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")
    result = kerasdrop.mc_predict(
        model,
        x,
        40,
        plan="independent",
        kind="regression",
        seed=0,
        verbose=0,
        # One sample of a few rows at a time.
        memory_limit=2000,
    )
    np.testing.assert_allclose(
        result.mean, model.predict(x, verbose=0), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(result.std, 0.0)
