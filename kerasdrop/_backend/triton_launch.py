"""Runs `triton_kernel` on tensors of PyTorch, where Triton works."""

import importlib
import math
from contextlib import AbstractContextManager
from contextlib import nullcontext
from types import ModuleType

import torch

from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

# Elements of a tile, and its rows if there are as many. Hashes of rows and
# units are made once for each tile: the nearer to a square, the fewer.
_TILE = 2**11
_ROWS_OF_TILE = 2**4

# Numbers of rows and of units are int32.
_MOST = 2**30

# PyTorch rounds products before it adds.
OPTIONS = {"enable_fp_fusion": False}


def kernels() -> ModuleType:
    """The kernel. Only what drops on a GPU needs Triton."""
    return importlib.import_module("kerasdrop._backend.triton_kernel")


def is_in_reach(shape: Shape, steps: Shape) -> bool:
    """Whether tensors of this shape, in the usual order, can be run on."""
    return (
        math.prod(shape[:1]) < _MOST
        and math.prod(shape[1:]) < _MOST
        and len(_groups(shape[1:], steps)) <= 2
    )


def order_of(recipe: Given, tensor: Tensor) -> list[int]:
    """The order of axes in which `run` takes a tensor, best without a copy.

    Rows are outside, and may be of several axes.
    """
    usual = list(range(tensor.ndim))
    first = tensor.ndim - len(recipe.shape)
    inside = sorted(usual[first:], key=lambda axis: -tensor.stride(axis))
    order = [*usual[:first], *inside]
    is_dense = tensor.permute(order).is_contiguous()
    return (
        order if is_dense and len(_axes(recipe, tensor, order)) <= 2 else usual
    )


def _axes(
    recipe: Given, tensor: Tensor, order: list[int]
) -> list[tuple[int, int]]:
    first = tensor.ndim - len(recipe.shape)
    inside = order[first:]
    return _groups(
        tuple(tensor.shape[axis] for axis in inside),
        tuple(recipe.steps[axis - first] for axis in inside),
    )


def _groups(shape: Shape, steps: Shape) -> list[tuple[int, int]]:
    """Successive axes that can be taken for one: its size and its step."""
    groups: list[tuple[int, int]] = []
    for size, step in zip(shape, steps):
        if size == 1:
            continue
        if groups and groups[-1][1] == size * step:
            groups[-1] = (groups[-1][0] * size, step)
        else:
            groups.append((size, step))
    return groups


def run(recipe: Given, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Fills `outputs`, which lie in memory as `inputs` do, and returns them."""
    if outputs.numel() == 0:
        return outputs
    axes = _axes(recipe, outputs, order_of(recipe, outputs))
    (_, outer_step), (inner, inner_step) = [(1, 0), (1, 0), *axes][-2:]
    row_size = math.prod(recipe.shape)
    num_rows = outputs.numel() // row_size
    block_rows, block_units = _blocks(num_rows, row_size)
    num_tiles = -(-num_rows // block_rows) * -(-row_size // block_units)
    words, indices, rows = recipe.copies(outputs.device)
    # What is not read may be any tensor.
    unread = words
    with _on(outputs.device):
        kernels().one_pass[(num_tiles,)](
            inputs,
            outputs,
            words,
            unread if indices is None else indices,
            unread if rows is None else rows,
            unread if recipe.scale is None else recipe.scale,
            unread if recipe.shift is None else recipe.shift,
            num_rows,
            row_size,
            recipe.num_rows,
            recipe.num_samples,
            inner,
            outer_step,
            inner_step,
            WHAT=getattr(kernels(), recipe.what.upper()),
            FILL=recipe.fill,
            HAS_INDICES=indices is not None,
            HAS_ROWS=rows is not None,
            HAS_HALF=recipe.half is not None,
            BITS=recipe.bits,
            TOGETHER=recipe.num_samples > 1,
            BLOCK_ROWS=block_rows,
            BLOCK_UNITS=block_units,
            **OPTIONS,
        )
    return outputs


def _blocks(num_rows: int, row_size: int) -> tuple[int, int]:
    """Rows and elements of a tile, powers of two."""
    most_rows, most_units = (
        1 << (size - 1).bit_length() for size in (num_rows, row_size)
    )
    units = min(most_units, _TILE // min(most_rows, _ROWS_OF_TILE))
    return min(most_rows, _TILE // units), units


def _on(device: Given) -> AbstractContextManager[Given]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
