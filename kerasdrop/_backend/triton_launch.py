"""Runs `triton_kernel` on PyTorch tensors, where Triton works."""

import functools
import importlib
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from contextlib import nullcontext
from types import ModuleType
from typing import NamedTuple

import torch

from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor

# Numbers of rows and of units are int32.
_MOST = 2**30

# PyTorch rounds a product before it adds.
OPTIONS = {"enable_fp_fusion": False}


def kernels() -> ModuleType:
    """The module of the kernel. Only dropout on a GPU needs Triton."""
    return importlib.import_module("kerasdrop._backend.triton_kernel")


class Layout(NamedTuple):
    """How the kernel cuts a tensor.

    Attributes:
        is_dense: Whether the kernel can run on the tensor as it lies in memory.
            If not, it can run on a `contiguous` copy, unless that is not
            `in_reach`.
        in_reach: Whether the kernel supports such a shape and such a noise.
        num_rows: Integer, the size of all axes before those of a row.
        row_size: Integer, the elements of a row.
        inner, outer_step, inner_step: Integers, arguments of the kernel.
        block_rows, block_units: The sizes of a tile, powers of two.
    """

    is_dense: bool
    in_reach: bool
    num_rows: int
    row_size: int
    inner: int
    outer_step: int
    inner_step: int
    block_rows: int
    block_units: int


@functools.lru_cache(maxsize=1024)
def layout_of(shape: Shape, strides: Shape, steps: Shape) -> Layout:
    """The layout of a tensor whose last axes are those of a row.

    Args:
        shape: The shape of the tensor.
        strides: The strides of the tensor.
        steps: The increment of the number of the unit along each axis of a row.
    """
    first = len(shape) - len(steps)
    num_rows, row_size = math.prod(shape[:first]), math.prod(shape[first:])
    usual = range(first, len(shape))
    order = sorted(usual, key=lambda axis: -strides[axis])
    groups = _groups(shape, steps, order)
    is_dense = _is_dense(shape, strides, order) and len(groups) <= 2
    if not is_dense:
        groups = _groups(shape, steps, usual)
    in_reach = len(groups) <= 2 and max(num_rows, row_size) < _MOST
    (_, outer_step), (inner, inner_step) = [(1, 0), (1, 0), *groups][-2:]
    blocks = _blocks(num_rows, row_size)
    steps = (inner, outer_step, inner_step)
    return Layout(is_dense, in_reach, num_rows, row_size, *steps, *blocks)


def _is_dense(shape: Shape, strides: Shape, order: list[int]) -> bool:
    """Whether axes lie in memory without gaps: rows, then `order`."""
    size = 1
    for axis in (*range(len(shape) - len(order)), *order)[::-1]:
        if shape[axis] != 1 and strides[axis] != size:
            return False
        size *= shape[axis]
    return True


def _groups(
    shape: Shape, steps: Shape, order: Iterable[int]
) -> list[tuple[int, int]]:
    """Merges successive axes where possible: their sizes and steps."""
    groups: list[tuple[int, int]] = []
    for axis in order:
        size, step = shape[axis], steps[axis - len(shape)]
        if size == 1:
            continue
        if groups and groups[-1][1] == size * step:
            groups[-1] = (groups[-1][0] * size, step)
        else:
            groups.append((size, step))
    return groups


def _blocks(num_rows: int, row_size: int) -> tuple[int, int]:
    """The rows and elements of a tile; each combination is compiled.

    Hashes of rows and units are computed once for each tile. The nearer a tile
    is to a square, the fewer hashes there are.
    """
    if num_rows < 8:
        return 1, 2048
    if row_size <= 2:
        return 1024, 2
    return (128, 16) if row_size <= 16 else (16, 128)


def run(
    recipe: Given, layout: Layout, inputs: Tensor, outputs: Tensor
) -> Tensor:
    """Fills and returns `outputs`, which have the strides of `inputs`."""
    if outputs.numel() == 0:
        return outputs
    num_tiles = -(-layout.num_rows // layout.block_rows)
    num_tiles *= -(-layout.row_size // layout.block_units)
    words, indices, rows = recipe.copies(outputs.device)
    # An argument that is not read may be any tensor.
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
            layout.num_rows,
            layout.row_size,
            recipe.num_rows,
            recipe.num_samples,
            layout.inner,
            layout.outer_step,
            layout.inner_step,
            WHAT=getattr(kernels(), recipe.what.upper()),
            FILL=recipe.fill,
            HAS_INDICES=indices is not None,
            HAS_ROWS=rows is not None,
            HAS_HALF=recipe.half is not None,
            BITS=recipe.bits,
            TOGETHER=recipe.num_samples > 1,
            BLOCK_ROWS=layout.block_rows,
            BLOCK_UNITS=layout.block_units,
            **OPTIONS,
        )
    return outputs


def _on(device: Given) -> AbstractContextManager[Given]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
