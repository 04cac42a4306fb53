"""Dropout in one pass over memory, for eager PyTorch on a GPU.

There each operation is a separate kernel that reads and writes a whole tensor,
and a mask takes some 30 operations. `triton_kernel` reads the inputs and writes
the outputs. For a gradient it makes the mask again from a few stored words.
Tools that compile, export, fake or trace operations get the operations, which
they fuse themselves.
"""

import functools
import types

import numpy as np
import torch
from torch.autograd import forward_ad

from kerasdrop._backend import triton_launch
from kerasdrop._backend import triton_trial
from kerasdrop._backend.context import is_exporting
from kerasdrop._backend.torch_recipe import PLAIN
from kerasdrop._backend.torch_recipe import Recipe
from kerasdrop._backend.torch_recipe import UnreadableError
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

__all__ = ["has_kernel", "in_one_pass", "is_functionalized", "is_observed"]

# Where the kernel is used. The tests add the CPU, for Triton's interpreter.
DEVICES = {"cuda"}

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Private: no public name tells whether operations are traced or mapped. Pinned
# by tests/backend/test_torch_kernel_use.py.
_functorch = torch._C._functorch
_PRE_DISPATCH = torch._C.DispatchKey.PreDispatch


def has_kernel(inputs: Tensor) -> bool:
    return (
        type(inputs) in PLAIN
        and inputs.device.type in DEVICES
        and not torch.compiler.is_compiling()
        and inputs.dtype in _FLOATS
        and inputs.layout is torch.strided
        and not is_observed()
        and not torch._C._get_tracing_state()
        and not is_exporting()
        and not is_functionalized()
        and triton_trial.is_passed(inputs.device, _is_right)
    )


def is_observed() -> bool:
    """Whether a mode of PyTorch traces, fakes or counts operations."""
    return bool(
        torch._C._len_torch_dispatch_stack()
        # A trace above autograd, of `make_fx(pre_dispatch=True)`, is not there.
        or torch._C._dispatch_tls_is_dispatch_key_included(_PRE_DISPATCH)
    )


def is_functionalized() -> bool:
    """Whether `torch.func.functionalize` runs.

    It has no rule for functions with gradients of their own.
    """
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
        return None  # a new tensor stands for another one there
    try:
        recipe = Recipe(what, inputs, draw, rate, half, scale, shift)
    except UnreadableError:
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


def _run(inputs: Tensor, recipe: Recipe) -> Tensor:
    if (
        (inputs.requires_grad and torch.is_grad_enabled())
        or _functorch.peek_interpreter_stack() is not None
        or forward_ad.unpack_dual(inputs).tangent is not None
    ):
        return _Dropped.apply(inputs, recipe)
    return _Dropped.forward(inputs, recipe)


class _Dropped(torch.autograd.Function):
    """The dropped inputs, with gradients: linear except for a shift."""

    @staticmethod
    def forward(inputs: Tensor, recipe: Recipe) -> Tensor:
        # Zeros may have no memory if there is no tangent or gradient.
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
        info: Given, in_dims: Shape, inputs: Tensor, recipe: Recipe
    ) -> tuple[Tensor, int]:
        # The axis becomes further rows: the draw begins anew with each entry.
        return _Dropped.apply(inputs.movedim(in_dims[0], 0), recipe), 0


def _by_halves(inputs: Tensor, recipe: Recipe) -> Tensor:
    """Splits more rows than the kernel can count, which mapped axes make."""
    axes = recipe.num_axes
    entries = inputs.reshape(-1, *inputs.shape[inputs.ndim - axes :])
    halves = [_Dropped.forward(each, recipe) for each in entries.chunk(2)]
    return torch.cat(halves).reshape(inputs.shape)


# A gradient may be compiled although its function was not ("compiled
# autograd").
@torch.compiler.disable(
    reason="Eager dropout on a GPU has a kernel, for the gradient as well. "
    "Compile the model, too: then both are made of operations."
)
def _of_change(change: Tensor, recipe: Recipe) -> Tensor:
    if not _functorch.is_legacy_batchedtensor(change):
        return _Dropped.apply(change, recipe)
    # `torch.autograd.grad(is_grads_batched=True)` maps operations without
    # asking for a `vmap`.
    ones = torch.ones(change.shape, dtype=change.dtype, device=change.device)
    factor = _Dropped.apply(ones, recipe)
    return torch.where(factor == 0.0, 0.0, change * factor)


# The masks that `_is_right` expects, by the size of sets.
_KNOWN = {
    None: "da8bcd7eeb9a63d05f6bde53d4657edf",
    16: "fbd91fe6b765a2f78f5d9afb7ffdfe7e",
}


def _is_right(device: Given) -> bool:
    """Whether the kernel gives the right results on this device.

    Independent words and words of sets are tested, at a rate of .3, where
    products with the scale must be rounded.
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
