"""Converts data of any type to arrays, and takes rows of them."""

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure


def is_iterable_of_batches(x: Given) -> bool:
    """Whether `x` is an iterable of batches, not arrays of rows."""
    if isinstance(x, keras.utils.PyDataset):
        return True
    is_structure = isinstance(x, (list, tuple, dict))
    is_array = hasattr(x, "__array__") or ops.is_tensor(x) or _is_sparse(x)
    return hasattr(x, "__iter__") and not is_structure and not is_array


def rows_of(arrays: Structure, rows: Given) -> Structure:
    """Returns some rows of arrays, dense and otherwise as they are.

    Only these rows are converted, so that memory does not grow with the data.

    Args:
        arrays: As `of` returns it.
        rows: A slice, or an array of integers.
    """
    return mapped(lambda array: _dense(array[rows]), arrays)


def rows_of_float_type(arrays: Structure, rows: Given) -> Structure:
    """As `rows_of`, in Keras' float type.

    `predict` of Keras converts arrays in this way, but no batches.
    """
    return mapped(_of_float_type, rows_of(arrays, rows))


def mapped(function: Function, arrays: Structure) -> Structure:
    """Applies a function to each leaf but None; keeps the structure."""
    return tree.map_structure(
        lambda array: None if array is None else function(array), arrays
    )


def of(x: Given, name: str) -> Structure:
    """Returns `x` with an array for each leaf; nested lists are refused.

    Arrays, including sparse matrices of scipy, are not converted here: see
    `rows_of`.

    Args:
        x: A structure; None for an input that is left out.
        name: String, the name of the argument.

    Raises:
        ValueError: If leaves are numbers, or frames with values that are not
            numbers.
    """
    leaves = tree.flatten(x)
    if any(isinstance(leaf, (int, float, bool, str)) for leaf in leaves):
        raise Refusal(
            f"`{name}` must be an array, or a structure of arrays. "
            f"Received: {type(x).__name__} of numbers. Make it an array, e.g. "
            f"`numpy.array({name})`."
        )
    return mapped(lambda leaf: _array(leaf, name), x)


def _array(x: Given, name: str) -> Given:
    if _is_sparse(x):
        return x.tocsr()
    if hasattr(x, "to_numpy"):  # a pandas series or frame
        return _of_pandas(x, name)
    if hasattr(x, "ragged_rank"):  # made an array, it would end in zeros
        raise Refusal(
            f"`{name}` must have rows of one shape. Pad them, e.g. by "
            f"`{name}.to_tensor()`, for a model that masks what is padded. "
            f"Received: {type(x).__name__} of shape {tuple(x.shape)}"
        )
    if np.ma.is_masked(x):  # what is masked is still there, as a number
        raise Refusal(
            f"`{name}` must be an array without a mask. Replace what is "
            f"masked, e.g. by `{name}.filled(numpy.nan)`. Received: a masked "
            f"array with {np.ma.count_masked(x)} masked values"
        )
    array = ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)
    # Some layers on TensorFlow, such as `TextVectorization`, take strings.
    takes_strings = keras.backend.backend() == "tensorflow" and array.ndim
    is_string = all(isinstance(one, (str, bytes)) for one in array.flat[:1])
    if array.dtype.kind in "OUSMmV" and not (takes_strings and is_string):
        raise Refusal(
            f"`{name}` must be an array of numbers, or a structure of such "
            "arrays. Convert it, e.g. by `x.astype('float32')`; call a "
            "generator function. Received: "
            + (
                f"an array of dtype {array.dtype}"
                if array.ndim
                else f"{name}={x!r} (of type {type(x).__name__})"
            )
        )
    return array


def _of_float_type(array: Array) -> Array:
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(keras.config.floatx(), copy=False)
    return array


def _of_pandas(x: Given, name: str) -> Array:
    """The numbers of a frame or series, with NaN for missing ones."""
    array = x.to_numpy()
    if array.dtype != object:
        return array
    try:  # columns of several types, or with missing values
        return x.to_numpy(dtype=keras.config.floatx(), na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise Refusal(
            f"`{name}` must have numbers only. Encode or drop the "
            f"other columns. Received: {type(x).__name__} with the types "
            f"{dict(x.dtypes) if x.ndim > 1 else x.dtype}"
        ) from error


def _is_sparse(x: Given) -> bool:
    return hasattr(x, "tocsr") and hasattr(x, "toarray")


def _dense(array: Given) -> Array:
    return array.toarray() if _is_sparse(array) else array


def are_empty(arrays: Structure) -> bool:
    """Whether all arrays have no rows."""
    shapes = _shapes(arrays)
    return bool(shapes) and all(shape[:1] == (0,) for shape in shapes)


def num_rows(arrays: Structure) -> int:
    """The number of rows of all arrays; raises if the numbers differ."""
    shapes = _shapes(arrays)
    sizes = {shape[0] if shape else 0 for shape in shapes}
    if len(sizes) != 1 or sizes == {0}:
        raise Refusal(
            "`x` must be an array of at least one row, or a "
            "structure of arrays with the same number of rows (and `y`, "
            "`sample_weight` and `rows`, if given, have as many). Received: "
            f"arrays of the shapes {shapes}"
        )
    return sizes.pop()


def _shapes(arrays: Structure) -> list[tuple[int, ...]]:
    return [
        tuple(array.shape)
        for array in tree.flatten(arrays)
        if array is not None
    ]
