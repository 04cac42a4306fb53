"""Functions of `keras.ops` for PyTorch tensors, without checks.

In each call Keras looks for symbolic tensors, and for other dtypes and devices.
In eager mode that takes longer than the arithmetic of a small tensor. These
functions call the kernel that Keras calls in the end, so results and gradients
are the same to the bit for float32. For other floats they keep the dtype of the
tensors, where Keras computes in float32 or returns it. They apply to tensors of
one dtype on one device, and to plain numbers beside them. Everything else goes
to Keras, and so does compiled or exported code.
"""

import keras
import torch

from kerasdrop._backend.context import is_exporting
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

_keras = keras.ops
# Keras converts other dtypes, with which PyTorch cannot compute.
_DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("float16", "bfloat16", "float32", "float64"),
        *("bool", "int8", "int16", "int32", "int64", "uint8"),
    )
}


def _is_tensor(value: Given) -> bool:
    return isinstance(value, torch.Tensor) and not (
        is_exporting() or torch.compiler.is_compiling()
    )


def _is_float(value: Given) -> bool:
    return _is_tensor(value) and value.is_floating_point()


def _of_floats(name: str, kernel: Function) -> Function:
    """A function of one tensor of floats."""
    plain = getattr(_keras, name)

    def function(x: Tensor) -> Tensor:
        return kernel(x) if _is_float(x) else plain(x)

    return staticmethod(function)


def _reducing(name: str, kernel: Function) -> Function:
    """A function of a tensor of floats along one axis, or several."""
    plain = getattr(_keras, name)

    def function(
        x: Tensor, axis: Given = None, keepdims: bool = False
    ) -> Tensor:
        if axis is None or axis == () or not _is_float(x) or 0 in x.shape:
            return plain(x, axis=axis, keepdims=keepdims)
        return kernel(x, dim=axis, keepdim=keepdims)

    return staticmethod(function)


def _of_two(name: str, kernel: Function) -> Function:
    """A function of a tensor of floats and of another one, or a number."""
    plain = getattr(_keras, name)

    def function(x: Tensor, y: Given) -> Tensor:
        if not _is_float(x):
            return plain(x, y)
        if isinstance(y, (int, float)):
            return kernel(x, torch.full((), y, dtype=x.dtype, device=x.device))
        if _is_tensor(y) and y.dtype == x.dtype and y.device == x.device:
            return kernel(x, y)
        return plain(x, y)

    return staticmethod(function)


def _logical(name: str, kernel: Function) -> Function:
    """A function of tensors of booleans."""
    plain = getattr(_keras, name)

    def function(*values: Tensor) -> Tensor:
        if all(_is_tensor(x) and x.dtype == torch.bool for x in values):
            return kernel(*values)
        return plain(*values)

    return staticmethod(function)


class Ops:
    """Stands for `keras.ops`."""

    def __getattr__(self, name: str) -> Given:
        return getattr(_keras, name)

    abs = _of_floats("abs", torch.abs)
    square = _of_floats("square", torch.square)
    sqrt = _of_floats("sqrt", torch.sqrt)
    log = _of_floats("log", torch.log)
    log1p = _of_floats("log1p", torch.log1p)
    round = _of_floats("round", torch.round)
    sum = _reducing("sum", torch.sum)
    mean = _reducing("mean", torch.mean)
    max = _reducing("max", torch.amax)
    min = _reducing("min", torch.amin)
    maximum = _of_two("maximum", torch.maximum)
    minimum = _of_two("minimum", torch.minimum)
    logical_not = _logical("logical_not", torch.logical_not)
    logical_and = _logical("logical_and", torch.logical_and)
    logical_or = _logical("logical_or", torch.logical_or)

    @staticmethod
    def where(condition: Tensor, x: Given, y: Given) -> Tensor:
        tensors = [value for value in (x, y) if _is_tensor(value)]
        others = [value for value in (x, y) if isinstance(value, float)]
        if (
            _is_tensor(condition)
            and condition.dtype == torch.bool
            and tensors
            and len(tensors) + len(others) == 2
            # A number gets the dtype of the floats beside it.
            and all(map(_is_float, tensors))
            and tensors[0].dtype == tensors[-1].dtype
            and condition.device == tensors[0].device == tensors[-1].device
        ):
            return torch.where(condition, x, y)
        return _keras.where(condition, x, y)

    @staticmethod
    def shape(x: Tensor) -> Shape:
        return tuple(x.shape) if _is_tensor(x) else _keras.shape(x)

    @staticmethod
    def expand_dims(x: Tensor, axis: Given) -> Tensor:
        if _is_tensor(x) and isinstance(axis, int):
            return torch.unsqueeze(x, axis)
        return _keras.expand_dims(x, axis)

    @staticmethod
    def reshape(x: Tensor, newshape: Shape) -> Tensor:
        if _is_tensor(x) and isinstance(newshape, tuple):
            return torch.reshape(x, newshape)
        return _keras.reshape(x, newshape)

    @staticmethod
    def cast(x: Tensor, dtype: str) -> Tensor:
        if _is_tensor(x) and dtype in _DTYPES:
            return x.to(_DTYPES[dtype])
        return _keras.cast(x, dtype)

    @staticmethod
    def zeros_like(x: Tensor, dtype: Given = None) -> Tensor:
        if _is_tensor(x) and dtype is None:
            return torch.zeros_like(x)
        return _keras.zeros_like(x, dtype=dtype)

    @staticmethod
    def repeat(x: Tensor, repeats: Given, axis: Given = None) -> Tensor:
        are_integers = isinstance(repeats, int) and isinstance(axis, int)
        if not (_is_tensor(x) and are_integers and axis >= 0):
            return _keras.repeat(x, repeats, axis=axis)
        sizes = [-1] * (x.ndim + 1)
        sizes[axis + 1] = repeats
        wide = torch.unsqueeze(x, axis + 1).expand(sizes)
        # This copies even one row or one repeat, since a layer may write into
        # its inputs.
        wide = wide.clone(memory_format=torch.contiguous_format)
        return torch.flatten(wide, axis, axis + 1)
