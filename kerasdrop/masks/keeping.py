"""Words, and keep masks, which compare words with a rate."""

import functools

import numpy as np

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop import _refusals
from kerasdrop._backend import ops
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.masks import int32
from kerasdrop.masks import strata
from kerasdrop.masks import uniform
from kerasdrop.masks.draws import Draw
from kerasdrop.masks.draws import for_rows
from kerasdrop.masks.draws import unless_all_is_kept


def words(draw: Draw, shape: Shape) -> Tensor:
    """Uniform 32-bit words.

    Args:
        draw: A `Draw`.
        shape: Sizes, each an integer or an int tensor; axis 0 is the row. The
            same row and unit get the same word, whatever the other rows are.

    Returns:
        An int32 tensor of that shape.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0)
    >>> keras.backend.standardize_dtype(words(draw, (2, 4)).dtype)
    'int32'
    """
    if draw.set_size is None:
        word = uniform.independent_words(draw, shape)
    else:
        word = strata.stratified_words(draw, shape)
    return unless_all_is_kept(draw, word, int32.HIGHEST)


def for_noise(
    inputs: Tensor, draw: Draw, noise_shape: Shape | None = None
) -> tuple[Draw, Shape]:
    """The draw and the sizes of a noise, for one word per shared decision.

    Args:
        inputs: Tensor; axis 0 is the row.
        draw: A `Draw`.
        noise_shape: As in `keras.layers.Dropout`, or None.

    Returns:
        A `Draw`; and a tuple, the sizes of the inputs or `noise_shape` with
        each None replaced by the size of the inputs.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0)
    >>> _, sizes = for_noise(np.ones((2, 5, 3)), draw, (None, 1, None))
    >>> sizes
    (2, 1, 3)
    """
    sizes = ops.shape(inputs)
    if noise_shape is not None:
        noise_shape = _checks.full_noise_shape(noise_shape, len(sizes))
        _check_rows_of_noise(noise_shape, draw)
        if noise_shape[:1] == (1,) and draw.rows is not None:
            # One mask for all rows.
            draw = draw._replace(rows=ops.zeros_like(draw.rows))
        sizes = [
            size if noise is None else noise
            for noise, size in zip(noise_shape, sizes)
        ]
    return draw, tuple(sizes)


def _check_rows_of_noise(noise_shape: Shape, draw: Draw) -> None:
    """Raises if a noise is for another number of rows than the draw."""
    fixed = noise_shape[0] if noise_shape else None
    if draw.rows is None or fixed in (None, 1):
        return
    if draw.rows.shape[0] not in (None, fixed):
        raise ValueError(
            f"noise_shape={noise_shape} {_refusals.of_fixed_rows(noise_shape)}"
        )


def in_one_pass(
    what: str,
    inputs: Tensor,
    draw: Draw,
    rate: Tensor = 0.0,
    noise_shape: Shape | None = None,
    scale: Tensor | None = None,
    fill: float = 0.0,
    shift: Tensor | None = None,
) -> Tensor | None:
    """Applies dropout to the inputs in one kernel; None if there is none.

    There is a kernel for eager PyTorch on a GPU; the bits are the same.

    Args:
        what: String. It, `scale`, `fill` and `shift` are as for
            `_backend.in_one_pass`.
        inputs: Tensor; axis 0 is the row.
        draw: A `Draw`.
        rate: float32 scalar tensor in [0, 1].
        noise_shape: As in `keras.layers.Dropout`, or None.
        scale: Scalar tensor, or None.
        fill: Number.
        shift: Scalar tensor, or None.

    Returns:
        A tensor of the inputs' shape, or of the noise; or None.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0)
    >>> in_one_pass("inverted", np.ones((2, 4), "float32"), draw, 0.5) is None
    True
    """
    if not _backend.has_kernel(inputs):
        return None
    draw, sizes = for_noise(inputs, for_rows(draw, inputs), noise_shape)
    return _from_kernel(what, inputs, draw, sizes, rate, scale, fill, shift)


def _from_kernel(
    what: str,
    inputs: Tensor,
    draw: Draw,
    sizes: Shape,
    rate: Tensor,
    *values: Given,
) -> Tensor | None:
    half = None
    if what != "uniform":
        rate = unless_all_is_kept(draw, rate, 0.0)
        if not ops.is_tensor(rate):
            # Code that reads numbers does not round them to float32, so neither
            # does this.
            known = _backend.at_hand(rate)
            half = None if known is None else strata.threshold(known[0])
    return _backend.in_one_pass(what, inputs, draw, sizes, rate, half, *values)


def _keep(
    inputs: Tensor,
    key: Tensor,
    index: Tensor,
    rows: Tensor,
    set_size: int | None,
    num_samples: int,
    rate: Tensor,
    noise_shape: Shape,
) -> Tensor:
    draw = Draw(key, index, rows, set_size, num_samples)
    draw, sizes = for_noise(inputs, draw, noise_shape)
    # The runtime of an exported graph may not know int16.
    if set_size == 16 and num_samples > 1 and not _backend.is_exporting():
        return strata.kept_in_sets(draw, sizes, rate)
    return _survivors(draw, sizes, rate, inputs)


def _survivors(
    draw: Draw,
    shape: Shape,
    rate: Tensor,
    like: Tensor,
    units: Tensor | None = None,
) -> Tensor:
    """Which words of this shape, or of these units, let a unit survive."""
    known = _backend.at_hand(rate)
    if known is not None:
        (rate,) = known
    # Words are signed: the lowest is -2**31, which is 2 * -2**30.
    lowest = (strata.threshold(rate) - 2**30) * 2
    if draw.set_size is None:
        keep = uniform.independent_words_from(draw, shape, lowest, like, units)
    else:
        keep = strata.stratified_words(draw, shape, units) >= lowest
    # This is not `rate < 1`, so that a rate of NaN keeps all units and shows.
    # Nor is it `not rate >= 1`, which TensorFlow replaces by `rate < 1` in a
    # graph.
    if known is not None:
        return ops.zeros_like(keep) if rate >= 1.0 else keep
    return ops.logical_and(keep, ops.cast(rate >= 1.0, "int32") < 1)


_fused_keep = _backend.fused(_keep)


def _block_keep(
    inputs: Tensor,
    key: Tensor,
    index: Tensor,
    rows: Tensor,
    set_size: int | None,
    num_samples: int,
    probability: Tensor,
    block_size: tuple[int, ...],
    first_axis: int,
) -> Tensor:
    sizes = list(ops.shape(inputs))
    for axis, block in enumerate(block_size, first_axis):
        sizes[axis] = sizes[axis] - (block - 1)  # blocks lie inside
    draw = Draw(key, index, rows, set_size, num_samples)
    begins = None
    if _backend.has_kernel(inputs):
        begins = _from_kernel("mask", inputs, draw, tuple(sizes), probability)
    if begins is None:
        begins = _survivors(draw, tuple(sizes), probability, inputs)
    dropped = ops.logical_not(begins)
    for axis, block in enumerate(block_size, first_axis):
        dropped = _extended(dropped, axis, block)
    return ops.logical_not(dropped)


def _extended(begins: Tensor, axis: int, length: int) -> Tensor:
    """Extends each True to a run of `length`; the axis grows by `length - 1`.

    Doubling takes about log2(length) passes over memory, where pooling reads
    `length` elements for each.
    """
    one = (*(slice(None),) * axis, slice(0, 1))
    reach = 1
    while reach < length:
        by = min(reach, length - reach)
        # `ops.pad` numbers its calls, so torch.compile would compile each of
        # them anew.
        edge = ops.repeat(ops.zeros_like(begins[one]), by, axis=axis)
        begins = ops.logical_or(
            ops.concatenate([begins, edge], axis=axis),
            ops.concatenate([edge, begins], axis=axis),
        )
        reach += by
    return begins


_fused_block_keep = _backend.fused(_block_keep)


def keep_mask(
    draw: Draw, rate: Tensor, inputs: Tensor, noise_shape: Shape | None = None
) -> Tensor:
    """Which units survive: True with probability `1 - rate`.

    Args:
        draw: A `Draw`.
        rate: float32 scalar tensor in [0, 1].
        inputs: Tensor that determines the shape of the mask; axis 0 is the row.
        noise_shape: As in `keras.layers.Dropout`, or None.

    Returns:
        A bool tensor of the inputs' shape, or of `noise_shape` with each None
        replaced by the inputs' size.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0)
    >>> keep = keep_mask(draw, 0.25, np.ones((1000, 100), "float32"))
    >>> round(float(keras.ops.convert_to_numpy(keep).mean()), 2)
    0.75
    """
    draw = for_rows(draw, inputs)
    if draw.keep_all is True:
        return ops.ones(for_noise(inputs, draw, noise_shape)[1], "bool")
    rate = unless_all_is_kept(draw, rate, 0.0)
    at_once = in_one_pass("mask", inputs, draw, rate, noise_shape)
    if at_once is not None:
        return at_once
    return _fused_keep(inputs, *draw[:5], rate, noise_shape)


def block_keep_mask(
    draw: Draw,
    probability: Tensor,
    inputs: Tensor,
    block_size: tuple[int, ...],
    first_axis: int,
) -> Tensor:
    """Which units survive if blocks are dropped.

    Args:
        draw: A `Draw`.
        probability: float32 scalar tensor in [0, 1], the probability that a
            block begins at a place. Blocks lie inside the inputs, and may
            overlap.
        inputs: Tensor that determines the shape of the mask; axis 0 is the row.
        block_size: Tuple of integers, along successive axes.
        first_axis: The first of these axes.

    Returns:
        A bool tensor of the inputs' shape.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0)
    >>> maps = np.ones((1, 8, 8, 3), "float32")
    >>> keep = block_keep_mask(draw, 0.1, maps, block_size=(3, 3), first_axis=1)
    >>> keep.shape == maps.shape
    True
    """
    draw = for_rows(draw, inputs)
    if draw.keep_all is True:
        return ops.ones_like(inputs, "bool")
    probability = unless_all_is_kept(draw, probability, 0.0)
    return _fused_block_keep(
        inputs, *draw[:5], probability, block_size, first_axis
    )


def _unit_keep(
    units: Tensor,
    key: Tensor,
    index: Tensor,
    rows: Tensor,
    set_size: int | None,
    num_samples: int,
    rate: Tensor,
) -> Tensor:
    draw = Draw(key, index, rows, set_size, num_samples)
    return _survivors(draw, tuple(ops.shape(units)), rate, units, units)


_fused_unit_keep = _backend.fused(_unit_keep)


def unit_keep_mask(draw: Draw, rate: Tensor, units: Tensor) -> Tensor:
    """Which units survive, for units given by their numbers.

    Elements of a row with the same number survive or are dropped together. The
    result has the entries of a `keep_mask` of shape `(rows, units)` at the
    given columns. That mask is never made, because it may have very many
    columns.

    Args:
        draw: A `Draw`.
        rate: float32 scalar tensor in [0, 1].
        units: int32 tensor, the numbers, from 0 on; axis 0 is the row.

    Returns:
        A bool tensor of the shape of `units`.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0)
    >>> ids = keras.ops.convert_to_tensor([[7, 3, 7, 7]], "int32")
    >>> keep = keras.ops.convert_to_numpy(unit_keep_mask(draw, 0.5, ids))
    >>> bool((keep[0, [2, 3]] == keep[0, 0]).all())
    True
    """
    draw = for_rows(draw, units)
    if draw.keep_all is True:
        return ops.ones_like(units, "bool")
    rate = unless_all_is_kept(draw, rate, 0.0)
    return _fused_unit_keep(units, *draw[:5], rate)


def survivor_scale(rate: Tensor, dtype: str) -> Tensor:
    """`1 / (1 - rate)` in `dtype`; 0 at rate 1, where nothing survives.

    At rate 1 it divides by infinity, so that the gradient is 0 too. With a
    `where`, the branch that is not chosen would make it 0 * inf = NaN. A rate
    of NaN, from a faulty schedule, gives NaN.

    Args:
        rate: float32 scalar tensor.
        dtype: String, the name of a floating dtype.

    Returns:
        A scalar tensor of that dtype.

    Example:

    >>> scale = survivor_scale(keras.ops.convert_to_tensor(0.75), "float32")
    >>> float(scale)
    4.0
    """
    # float32 at least: in bfloat16 `1 - rate` is off by up to a quarter of a
    # percent before it is inverted.
    precise = "float64" if dtype == "float64" else "float32"
    known = _backend.at_hand(rate)
    if known is not None:
        (rate_at_hand,) = known
        if rate_at_hand.ndim == 0:
            scale = _scale_of_number(rate_at_hand.item(), precise).copy()
        else:
            scale = _scale_of_array(rate_at_hand, precise)
        return ops.cast(_backend.tensor_of(scale, rate), dtype)
    kept = 1.0 - ops.cast(rate, precise)
    return ops.cast(1.0 / _backend.where(kept <= 0.0, np.inf, kept), dtype)


def _scale_of_array(rate: Array, dtype: str) -> Array:
    kept = 1.0 - rate.astype(dtype)
    scale = np.asarray(1.0 / np.where(kept <= 0.0, np.inf, kept))
    return scale.astype(dtype, copy=False)


@functools.lru_cache(maxsize=64)
def _scale_of_number(rate: float, dtype: str) -> Array:
    return _scale_of_array(np.asarray(rate), dtype)
