"""One formula for NumPy arrays, in float64, and for tensors of the backend.

NumPy and `keras.ops` share the names of what the formulas of this package
need: a formula takes its namespace, `xp`, from `floats`, and then runs on what
`mc_predict` returns as well as in a compiled step. Tensors do not pass through
NumPy, nor arrays through the backend, which on JAX has no float64.
"""

import math
import statistics

import keras
import numpy as np

from kerasdrop._backend import ops
from kerasdrop._refusals import Refusal
from kerasdrop._types import ArrayLike
from kerasdrop._types import Given
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor


def is_tensor(value: Given) -> bool:
    return ops.is_tensor(value) or isinstance(value, keras.KerasTensor)


def floats(*values: Tensor) -> tuple[Given, ...]:
    """The namespace to compute in, and the values as its arrays.

    Returns:
        `(xp, *values)`: `keras.ops` and tensors of one dtype, of float32 at
        least, if any value is a tensor; else `numpy` and arrays of float64.
    """
    tensors = [value for value in values if is_tensor(value)]
    if not tensors:
        arrays = (np.asarray(unmasked(value), "float64") for value in values)
        return np, *arrays
    dtypes = [dtype_name(each) for each in tensors]
    of_floats = filter(keras.backend.is_float_dtype, dtypes)
    dtype = next(of_floats, keras.config.floatx())
    if dtype in ("float16", "bfloat16"):
        dtype = "float32"  # half precision cannot count beyond 2048, or 256
    return ops, *(_tensor(value, dtype) for value in values)


def unmasked(value: Given) -> Given:
    """Returns `value`; raises if it is an array with masked values."""
    if np.ma.is_masked(value):  # what is masked is still there, as a number
        raise Refusal(
            "arrays must have no masked values. Leave these rows out. "
            f"Received: {np.ma.count_masked(value)} masked values in an array "
            f"of shape {value.shape}"
        )
    return value


def _tensor(value: Given, dtype: str) -> Tensor:
    tensor = ops.convert_to_tensor(value)
    # A cast that changes nothing would still be in an exported graph.
    if dtype_name(tensor) == dtype:
        return tensor
    return ops.cast(tensor, dtype)


def dtype_name(value: Given) -> str:
    """The name of the dtype of an array or a tensor: `"float32"`."""
    return keras.backend.standardize_dtype(value.dtype)


def rounding(values: Tensor) -> float:
    """The distance from 1 to the next number of the dtype of the values."""
    return float(np.finfo(dtype_name(values)).eps)


def like(xp: Namespace, value: Given, other: Tensor) -> Tensor:
    """Returns `value` in the dtype of `other`."""
    if xp is np:
        return value.astype(other.dtype)
    return ops.cast(value, other.dtype)


def centred(xp: Namespace, values: Tensor) -> Tensor:
    """Values minus their mean over the first axis.

    The mean is subtracted twice, because the mean of many float32 numbers far
    from 0 is less accurate than that of the remaining differences.
    """
    for _ in range(2):
        values = values - xp.mean(values, axis=0, keepdims=True)
    return values


def order(xp: Namespace, values: Tensor) -> Tensor:
    """The positions of the sorted values, lowest first; equal ones in order."""
    if xp is np:
        return np.argsort(values, kind="stable")
    return ops.argsort(values)


def normal_cdf(xp: Namespace, values: Tensor) -> Tensor:
    """The distribution function of the standard normal."""
    if xp is np:
        cdf = statistics.NormalDist().cdf
        return np.vectorize(cdf, otypes=["float64"])(values)
    return 0.5 * (1.0 + ops.erf(values / math.sqrt(2.0)))


def weight_like(
    xp: Namespace, sample_weight: ArrayLike, values: Tensor
) -> Tensor:
    """Weights of rows, or of elements, in the shape of the values.

    Args:
        xp: As `floats` returns it.
        sample_weight: `(rows,)`, or with as many further axes of the values as
            it has; None for 1 everywhere.
        values: `(rows, ...)`.
    """
    if sample_weight is None:
        return xp.ones_like(values)
    if xp is np and is_tensor(sample_weight):
        sample_weight = ops.convert_to_numpy(sample_weight)
    _, weight, values = floats(sample_weight, values)
    given, wanted = tuple(weight.shape), tuple(values.shape)
    if given[len(wanted) :] == (1,):
        weight = xp.squeeze(weight, -1)
        given = given[:-1]
    known = None not in given + wanted
    if len(given) > len(wanted) or (known and given != wanted[: len(given)]):
        raise Refusal(
            f"argument `sample_weight` must have a weight for each "
            f"row, `(rows,)`, or for each of the values {wanted}. Received: "
            f"sample_weight of shape {given}"
        )
    if xp is np and not (weight >= 0.0).all():
        raise Refusal(
            f"argument `sample_weight` must hold numbers of at least "
            f"0. Received: a weight of {weight.min():.6g}"
        )
    for _ in range(len(wanted) - len(given)):
        weight = xp.expand_dims(weight, -1)
    return weight * xp.ones_like(values)


def weighted(xp: Namespace, total: Tensor, weight: Tensor) -> Tensor:
    """A sum over rows divided by the sum of their weights."""
    if xp is np and not weight > 0.0:
        raise Refusal(
            "at least one row must have a weight above 0. Received: rows with "
            f"a sum of weights of {weight:.6g}"
        )
    return total / weight


def checked_variance(
    xp: Namespace, variance: Tensor, above_zero: bool = False
) -> Tensor:
    """Variances; an illegal one raises in an array and is NaN in a tensor."""
    legal = variance > 0.0 if above_zero else variance >= 0.0
    if xp is not np:
        return xp.where(legal, variance, float("nan"))
    if not legal.all():
        bound = "above 0" if above_zero else "at least 0"
        raise Refusal(
            f"a variance is {bound}. If the model predicts its "
            "logarithm, pass `exp` of it. Received: a variance of "
            f"{variance.min():.6g}"
        )
    return variance
