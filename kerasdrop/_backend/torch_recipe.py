"""The arguments of `triton_kernel` besides inputs, in memory it may read."""

import copy
import math

import numpy as np
import torch
from torch.autograd import forward_ad

from kerasdrop._backend import triton_launch
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

# A subclass may stand for another tensor.
PLAIN = (torch.Tensor, torch.nn.Parameter)

# Private, as is what tells that operations are mapped. Pinned by
# tests/backend/test_torch_kernel_use.py.
_functorch = torch._C._functorch


class Recipe:
    """Everything that determines the outputs besides the inputs.

    A tensor that PyTorch saves comes back mapped in nested transforms, and must
    not change before the gradient, as a rate may. So this object, which is not
    a tensor to PyTorch, holds copies that are made when the kernel first runs,
    below all transforms.
    """

    fill = 0.0

    def __init__(
        self,
        what: str,
        like: Tensor,
        draw: Given,
        rate: Tensor,
        half: int | None,
        scale: Tensor | None,
        shift: Tensor | None,
    ) -> None:
        self.what, self.half = what, half
        self.scale = _readable(scale, like.dtype, like)
        self.shift = _readable(shift, like.dtype, like)
        self._key = _readable(draw.key, torch.int32, like)
        self._index = _readable(draw.index, torch.int32, like)
        self._rate = _readable(rate, torch.float32, like)
        if what == "inverted" and like.dtype == torch.float64:
            _check_unrounded(rate, self._rate)
        self._rows = _readable(draw.rows, torch.int32, like)
        is_in_sets = draw.set_size is not None
        self.bits = draw.set_size.bit_length() - 1 if is_in_sets else 0
        self.num_samples = draw.num_samples if is_in_sets else 1
        self._is_kept = torch.is_grad_enabled()
        self._copies: tuple[Given, ...] | None = None

    def shape_of_words(self, sizes: Shape) -> Shape:
        return (self._num_rows(sizes), *sizes[1:]) if sizes else ()

    def _num_rows(self, sizes: Shape) -> int:
        if self._rows is not None:
            return self._rows.shape[0]
        return sizes[0] if sizes else 1

    def fits(self, shape: Shape, sizes: Shape) -> bool:
        """Whether the kernel supports such tensors and such a noise.

        Sets `num_rows` and `num_axes` of the draw, and `steps`, the increments
        of the number of the unit along each axis of a row.
        """
        self.num_rows, self.num_axes = self._num_rows(sizes), len(sizes)
        noise = tuple(sizes[1:])
        self.steps = tuple(
            0 if size == 1 else math.prod(noise[axis + 1 :])
            for axis, size in enumerate(noise)
        )
        return (
            len(shape) == len(sizes)
            and all(size in (1, of) for of, size in zip(shape, sizes))
            and self.num_rows in (1, *shape[:1])
            and self.num_rows % self.num_samples == 0
            and (self.num_samples == 1 or self._rows is not None)
            and _size(self._index) in (1, self.num_rows)
            and _size(self._key) == 4
            and _size(self._rate) == 1
            # This is the layout of a contiguous copy.
            and triton_launch.layout_of(
                shape, (0,) * len(shape), self.steps
            ).in_reach
        )

    def layout(self, tensor: Tensor) -> triton_launch.Layout:
        return triton_launch.layout_of(
            tuple(tensor.shape), tensor.stride(), self.steps
        )

    def copies(self, device: Given) -> tuple[Given, ...]:
        """The words of key, index and rate; indices and rows, or None."""
        if self._copies is None:
            is_one = _size(self._index) == 1
            # If rows have their own indices, any available word serves here.
            index = self._index if is_one else self._key.reshape(-1)[:1]
            parts = [self._key, index]
            if self.what != "uniform":
                parts.append(_bits(self._rate))
            if self.half is not None:
                parts.append(np.array(self.half, "int32"))
            if all(isinstance(part, np.ndarray) for part in parts):
                parts = [np.concatenate([part.reshape(-1) for part in parts])]
            parts = [_on(device, part).reshape(-1) for part in parts]
            many = (None if is_one else self._index, self._rows)
            self._copies = (
                torch.cat(parts),
                *(
                    None if of is None else self._kept(device, of)
                    for of in many
                ),
            )
        return self._copies

    def _kept(self, device: Given, values: Given) -> Tensor:
        tensor = _on(device, values).contiguous()
        return tensor.clone() if self._is_kept else tensor

    def of_gradient(self) -> "Recipe":
        """The recipe for a change of the inputs, after a first run."""
        if self.what != "affine":
            return self
        recipe = copy.copy(self)
        recipe.what, recipe.shift, recipe.fill = "scaled", None, 0.0
        return recipe


def _on(device: Given, values: Given) -> Tensor:
    if not isinstance(values, np.ndarray):
        return values
    if values.size == 1:  # avoids a copy for which the host waits
        number = values.view("int32").item()
        return torch.full(
            values.shape, number, dtype=torch.int32, device=device
        )
    return torch.from_numpy(values.copy()).to(device)


def _bits(rate: Given) -> Given:
    is_array = isinstance(rate, np.ndarray)
    return rate.view("int32") if is_array else rate.view(torch.int32)


def _size(values: Given) -> int:
    is_array = isinstance(values, np.ndarray)
    return values.size if is_array else values.numel()


class UnreadableError(Exception):
    """A value is traced, mapped, differentiated or on another device."""


_NUMPY = {torch.int32: "int32", torch.float32: "float32"}


def _readable(value: Given, dtype: Given, like: Tensor) -> Given:
    """Returns a tensor whose memory the kernel may read, or a NumPy array."""
    if value is None:
        return None
    if not isinstance(value, torch.Tensor):
        if dtype not in _NUMPY:
            raise UnreadableError
        return np.asarray(value).astype(_NUMPY[dtype])
    while _functorch.is_gradtrackingtensor(value) and _is_constant(value):
        value = _functorch.get_unwrapped(value)
    if (
        type(value) not in PLAIN
        or _functorch.is_functorch_wrapped_tensor(value)
        or (value.dtype, value.device) != (dtype, like.device)
        or not _is_constant(value)
    ):
        raise UnreadableError
    return value


def _check_unrounded(rate: Given, in_float32: Given) -> None:
    """Raises if a rate is rounded in the kernel but not in operations."""
    is_number = isinstance(in_float32, np.ndarray)
    if is_number and np.any(np.asarray(rate) != in_float32):
        raise UnreadableError


def _is_constant(value: Tensor) -> bool:
    return (
        not value.requires_grad
        and forward_ad.unpack_dual(value).tangent is None
    )
