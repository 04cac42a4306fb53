"""PyTorch, eager on a GPU: dropout in one pass over memory.

There each operation is a kernel of its own that reads and writes all of a
tensor, and a mask is some 30 of them. `triton_kernel` reads the inputs and
writes the outputs; for a gradient it makes the mask again, from a few words
that are kept. What compiles, exports, fakes or traces operations gets the
operations, which it fuses itself.
"""

import copy
import functools
import math
import types

import numpy as np
import torch
from torch.autograd import forward_ad

from kerasdrop._backend import triton_launch
from kerasdrop._backend import triton_trial
from kerasdrop._backend.context import is_exporting
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

__all__ = ["has_kernel", "in_one_pass"]

# Where the kernel is used. The tests add the CPU, for Triton's interpreter.
DEVICES = {"cuda"}

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PLAIN = (torch.Tensor, torch.nn.Parameter)

# Private, as is what else tells that operations are traced or mapped. Pinned
# by tests/backend/test_torch_kernel.py.
_functorch = torch._C._functorch


def has_kernel(inputs: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and type(inputs) in _PLAIN
        and inputs.device.type in DEVICES
        and inputs.dtype in _FLOATS
        and inputs.layout is torch.strided
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._get_tracing_state()
        and not is_exporting()
        and not _is_functionalized()
        and triton_trial.is_passed(inputs.device, _is_right)
    )


def _is_functionalized() -> bool:
    """Whether a `torch.func.functionalize` is entered: it has no such rule."""
    if _functorch.peek_interpreter_stack() is None:
        return False
    kind = _functorch.TransformType.Functionalize
    return any(
        level.key() == kind for level in _functorch.get_interpreter_stack()
    )


def in_one_pass(
    what: str,
    inputs: Tensor,
    draw: Given,
    sizes: Shape,
    rate: Tensor = 0.0,
    half: int | None = None,
    scale: Tensor | None = None,
    fill: float = 0.0,
    shift: Tensor | None = None,
) -> Tensor | None:
    is_free = what in ("mask", "uniform")
    if is_free and _functorch.peek_interpreter_stack() is not None:
        return None  # there a new tensor stands for another one
    try:
        recipe = _Recipe(what, inputs, draw, rate, half)
        recipe.scale = _readable(scale, inputs.dtype, inputs)
        recipe.shift = _readable(shift, inputs.dtype, inputs)
    except _UnreadableError:
        return None
    recipe.fill = _rounded(fill, inputs.dtype)
    shape = recipe.shape_of_words(sizes) if is_free else tuple(inputs.shape)
    if not recipe.fits(shape, sizes):
        return None
    if not is_free:
        return _run(inputs, recipe)
    dtype = torch.float64 if inputs.dtype == torch.float64 else torch.float32
    dtype = torch.bool if what == "mask" else dtype
    outputs = torch.empty(shape, dtype=dtype, device=inputs.device)
    return triton_launch.run(recipe, recipe.layout(outputs), outputs, outputs)


def _run(inputs: Tensor, recipe: "_Recipe") -> Tensor:
    if (
        (inputs.requires_grad and torch.is_grad_enabled())
        or _functorch.peek_interpreter_stack() is not None
        or forward_ad.unpack_dual(inputs).tangent is not None
    ):
        return _Dropped.apply(inputs, recipe)
    return _Dropped.forward(inputs, recipe)


class _Dropped(torch.autograd.Function):
    """What is dropped, with its gradients: it is linear, but for a shift."""

    @staticmethod
    def forward(inputs: Tensor, recipe: "_Recipe") -> Tensor:
        # Zeros may have no memory, where a tangent or a gradient is none.
        is_void = inputs._is_zerotensor()
        inputs = torch.zeros_like(inputs) if is_void else inputs.resolve_neg()
        layout = recipe.layout(inputs)
        if not layout.in_reach:
            return _by_halves(inputs, recipe)
        if not layout.is_dense:
            inputs = inputs.contiguous()
            layout = recipe.layout(inputs)
        return triton_launch.run(
            recipe, layout, inputs, torch.empty_like(inputs)
        )

    @staticmethod
    def setup_context(ctx: Given, inputs: Given, output: Tensor) -> None:
        ctx.recipe = inputs[1].of_gradient()

    @staticmethod
    def backward(ctx: Given, gradient: Tensor) -> tuple[Tensor, None]:
        return _of_change(gradient, ctx.recipe), None

    @staticmethod
    def jvp(ctx: Given, tangent: Tensor, _: Given) -> Tensor:
        return _of_change(tangent, ctx.recipe)

    @staticmethod
    def vmap(
        info: Given, in_dims: Shape, inputs: Tensor, recipe: "_Recipe"
    ) -> tuple[Tensor, int]:
        # As further rows: with each entry of the axis the draw begins anew.
        return _Dropped.apply(inputs.movedim(in_dims[0], 0), recipe), 0


def _by_halves(inputs: Tensor, recipe: "_Recipe") -> Tensor:
    """Of more rows than the kernel counts, which axes that are mapped make."""
    axes = recipe.num_axes
    entries = inputs.reshape(-1, *inputs.shape[inputs.ndim - axes :])
    halves = [_Dropped.forward(each, recipe) for each in entries.chunk(2)]
    return torch.cat(halves).reshape(inputs.shape)


# A gradient may be compiled where what it is of was not ("compiled autograd").
@torch.compiler.disable(
    reason="Eager dropout on a GPU has a kernel, for the gradient as well. "
    "Compile the model, too: then both are made of operations."
)
def _of_change(change: Tensor, recipe: "_Recipe") -> Tensor:
    if not _functorch.is_legacy_batchedtensor(change):
        return _Dropped.apply(change, recipe)
    # Of `torch.autograd.grad(is_grads_batched=True)`, which maps operations and
    # asks for no `vmap`.
    ones = torch.ones(change.shape, dtype=change.dtype, device=change.device)
    factor = _Dropped.apply(ones, recipe)
    return torch.where(factor == 0.0, 0.0, change * factor)


class _Recipe:
    """What outputs are made of, besides inputs: no tensor to PyTorch.

    What PyTorch saves as a tensor comes back mapped in nested transforms, and
    must not change before the gradient, as a rate may. So this holds copies,
    made when the kernel first runs, below all transforms.
    """

    fill = 0.0
    scale = shift = None

    def __init__(
        self,
        what: str,
        like: Tensor,
        draw: Given,
        rate: Tensor,
        half: int | None,
    ) -> None:
        self.what, self.half = what, half
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
        """Whether the kernel is for such tensors and such a noise.

        Sets `num_rows` and `num_axes`, those of the draw, and `steps`, by how
        much the number of the unit grows along each axis of a row.
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
            # As it is once it is contiguous.
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
            # Indices of rows are read elsewhere: then it is a word at hand.
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

    def of_gradient(self) -> "_Recipe":
        """What it does to a change of the inputs, once it has run."""
        if self.what != "affine":
            return self
        recipe = copy.copy(self)
        recipe.what, recipe.shift, recipe.fill = "scaled", None, 0.0
        return recipe


def _on(device: Given, values: Given) -> Tensor:
    if not isinstance(values, np.ndarray):
        return values
    if values.size == 1:  # a number: the host waits for what it copies there
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


class _UnreadableError(Exception):
    """A value that is traced, mapped, differentiated or elsewhere."""


_NUMPY = {torch.int32: "int32", torch.float32: "float32"}


def _readable(value: Given, dtype: Given, like: Tensor) -> Given:
    """A tensor whose memory the kernel may read; or a NumPy array."""
    if value is None:
        return None
    if not isinstance(value, torch.Tensor):
        if dtype not in _NUMPY:
            raise _UnreadableError
        return np.asarray(value).astype(_NUMPY[dtype])
    while _functorch.is_gradtrackingtensor(value) and _is_constant(value):
        value = _functorch.get_unwrapped(value)
    if (
        type(value) not in _PLAIN
        or _functorch.is_functorch_wrapped_tensor(value)
        or (value.dtype, value.device) != (dtype, like.device)
        or not _is_constant(value)
    ):
        raise _UnreadableError
    return value


def _check_unrounded(rate: Given, in_float32: Given) -> None:
    """The rate is float32 in the kernel; a number is not, in operations."""
    is_number = isinstance(in_float32, np.ndarray)
    if is_number and np.any(np.asarray(rate) != in_float32):
        raise _UnreadableError


def _is_constant(value: Tensor) -> bool:
    return (
        not value.requires_grad
        and forward_ad.unpack_dual(value).tangent is None
    )


# The masks that `_is_right` expects, by the size of sets.
_KNOWN = {
    None: "da8bcd7eeb9a63d05f6bde53d4657edf",
    16: "fbd91fe6b765a2f78f5d9afb7ffdfe7e",
}


def _is_right(device: Given) -> bool:
    """Whether the kernel makes, on this device, what it has to.

    Of words and of words of sets; at a rate of .3, where products with the
    scale have to be rounded.
    """
    index = np.arange(16, dtype="int32")
    draw = types.SimpleNamespace(
        key=index[:4].reshape(2, 2, 1), index=index, rows=index * 0
    )
    values = np.arange(1, 129, dtype="float32").reshape(16, 8)
    scale = np.float32(1.0) / (np.float32(1.0) - np.float32(0.3))
    rate = torch.tensor(0.3, dtype=torch.float32, device=device)
    for draw.set_size, known in _KNOWN.items():
        draw.num_samples = 16
        inputs = torch.from_numpy(values).to(device)
        found = in_one_pass("inverted", inputs, draw, (16, 8), rate)
        keep = np.frombuffer(bytes.fromhex(known), "uint8")
        expected = np.unpackbits(keep).reshape(16, 8) * (values * scale)
        if found is None or not np.array_equal(found.cpu().numpy(), expected):
            return False
    return True


@functools.lru_cache(maxsize=64)
def _rounded(number: float, dtype: Given) -> float:
    return torch.tensor(number, dtype=dtype, device="cpu").item()
