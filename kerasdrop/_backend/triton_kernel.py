"""A kernel in Triton for dropout in one pass over memory.

`torch_kernel` imports it when it first drops a tensor on a GPU, so that nothing
else needs Triton. `kerasdrop.masks` defines the computation (words, strata,
thresholds), which is written here a second time. The tests compare the two bit
by bit. uint32 wraps, and its shifts are logical.
"""

import triton
import triton.language as tl

# The kinds of outputs.
MASK, UNIFORM, INVERTED, SCALED, AFFINE = range(5)

_MASK = tl.constexpr(MASK)
_UNIFORM = tl.constexpr(UNIFORM)
_INVERTED = tl.constexpr(INVERTED)
_AFFINE = tl.constexpr(AFFINE)

# The constants of the unit keys in `masks.draws`.
_UNIT_KEY = tl.constexpr(0x243F6A88)
_OTHER_UNIT_KEY = tl.constexpr(0x85A308D3)


@triton.jit
def _hashed(
    word: tl.tensor, first_key: tl.tensor, second_key: tl.tensor
) -> tl.tensor:
    """`masks.draws._hash`."""
    word += first_key
    word ^= word >> 17
    word *= 0xED5AD4BB
    word ^= second_key
    word ^= word >> 11
    word *= 0xAC4C1B51
    word ^= word >> 15
    word *= 0x31848BAB
    return word ^ (word >> 14)


@triton.jit
def _words(
    row: tl.tensor, index: tl.tensor, unit: tl.tensor, words: tl.tensor
) -> tl.tensor:
    """`masks.uniform.independent_words` for rows and units."""
    index = index.to(tl.uint32, bitcast=True)
    row = row.to(tl.uint32, bitcast=True)
    unit = unit.to(tl.uint32, bitcast=True)
    first = _hashed(
        row + index * 0x9E3779B2,
        tl.load(words).to(tl.uint32, bitcast=True),
        tl.load(words + 2).to(tl.uint32, bitcast=True),
    )
    second = _hashed(
        row * 0x85EBCA6B + index,
        tl.load(words + 1).to(tl.uint32, bitcast=True),
        tl.load(words + 3).to(tl.uint32, bitcast=True),
    )
    word = first[:, None] + _hashed(unit, _UNIT_KEY, _OTHER_UNIT_KEY)[None, :]
    word ^= word >> 16
    word *= 0x7FEB352D
    word ^= second[:, None]
    word ^= word >> 15
    word *= 0x846CA68B
    return word ^ (word >> 16)


@triton.jit
def _in_strata(
    choice: tl.tensor, place: tl.tensor, BITS: tl.constexpr
) -> tl.tensor:
    """`masks.strata._in_strata`."""
    LOW: tl.constexpr = (1 << BITS) - 1
    place = place.to(tl.uint32, bitcast=True)
    word = ((choice + place) & LOW) + 1
    word *= ((choice >> BITS) & LOW) + 1
    word = (word & LOW) - (word >> BITS)
    word += word >> 31
    word += ((choice >> (2 * BITS)) & LOW) - 1
    word = (word & LOW) << (32 - BITS)
    return (word ^ 0x80000000) + (choice >> BITS)


@triton.jit
def _survives(word: tl.tensor, rate: tl.tensor, half: tl.tensor) -> tl.tensor:
    """`masks.keeping._survivors` for words."""
    lowest = (half - (1 << 30)) * 2
    keep = word.to(tl.int32, bitcast=True) >= lowest
    # A rate of NaN keeps all units, so that the NaN shows.
    return keep & (tl.where(rate >= 1.0, 1, 0) == 0)


@triton.jit
def _scaled(
    value: tl.tensor,
    keep: tl.tensor,
    rate: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    dtype: tl.constexpr,
    precise: tl.constexpr,
    WHAT: tl.constexpr,
    FILL: tl.constexpr,
) -> tl.tensor:
    """The outputs, rounded where PyTorch rounds."""
    value = value.to(precise)
    if WHAT == _INVERTED:
        kept = 1.0 - rate.to(precise)
        kept = tl.where(kept <= 0.0, float("inf"), kept)
        if precise == tl.float32:
            factor = tl.div_rn(1.0, kept)
        else:
            factor = 1.0 / kept
        factor = factor.to(dtype).to(precise)
    else:
        factor = tl.load(scale).to(precise)
    if WHAT == _AFFINE:
        value = tl.where(keep, value, FILL) * factor
        return value.to(dtype).to(precise) + tl.load(shift).to(precise)
    return tl.where(keep, value * factor, 0.0)


@triton.jit(
    # Otherwise each size of a batch or noise would be compiled separately.
    do_not_specialize=[
        "num_rows",
        "period",
        "num_samples",
        "inner",
        "outer_step",
        "inner_step",
    ],
)
def one_pass(
    inputs: tl.tensor,
    outputs: tl.tensor,
    words: tl.tensor,
    indices: tl.tensor,
    rows: tl.tensor,
    scale: tl.tensor,
    shift: tl.tensor,
    num_rows: tl.tensor,
    row_size: tl.tensor,
    period: tl.tensor,
    num_samples: tl.tensor,
    inner: tl.tensor,
    outer_step: tl.tensor,
    inner_step: tl.tensor,
    WHAT: tl.constexpr,
    FILL: tl.constexpr,
    HAS_INDICES: tl.constexpr,
    HAS_ROWS: tl.constexpr,
    HAS_HALF: tl.constexpr,
    BITS: tl.constexpr,
    TOGETHER: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_UNITS: tl.constexpr,
) -> None:
    """Computes a tile of `outputs`, whose rows are contiguous in memory.

    Args:
        inputs: Pointer; unused for a mask and for uniform numbers.
        outputs: Pointer.
        words: Pointer to int32: the four words of the key, the index, the bits
            of the rate (except for UNIFORM) and, if HAS_HALF,
            `masks.strata.threshold` of the rate.
        indices: Pointer to int32, one for each row if HAS_INDICES.
        rows: Pointer to int32, the numbers of the rows if HAS_ROWS.
        scale: Pointer to a number that inputs are multiplied with.
        shift: Pointer to a number that is added to AFFINE outputs.
        num_rows: Integer, the rows of the tensor.
        row_size: Integer, the elements of a row.
        period: Integer, the rows of the draw, after which it begins anew.
        num_samples: Integer, as in `masks.Draw`.
        inner: Integer. Element e of a row belongs to the unit `e // inner *
            outer_step + e % inner * inner_step`.
        outer_step: Integer.
        inner_step: Integer.
        WHAT: MASK, UNIFORM, INVERTED, SCALED or AFFINE.
        FILL: Number that AFFINE puts in place of dropped inputs.
        HAS_INDICES: Whether rows have different indices.
        HAS_ROWS: Whether rows have numbers other than their positions.
        HAS_HALF: Whether the threshold is given.
        BITS: log2 of the size of a set, or 0 without sets.
        TOGETHER: Whether `num_samples` is above 1.
        BLOCK_ROWS: Power of two, the rows of a tile.
        BLOCK_UNITS: Power of two, the elements of a row in a tile.
    """
    num_tiles = (row_size + BLOCK_UNITS - 1) // BLOCK_UNITS
    tile = tl.program_id(0)
    row = (tile // num_tiles) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    element = (tile % num_tiles) * BLOCK_UNITS + tl.arange(0, BLOCK_UNITS)
    is_row = row < num_rows
    inside = is_row[:, None] & (element < row_size)[None, :]
    at = row.to(tl.int64)[:, None] * row_size + element[None, :]
    of_draw = row % period
    place = of_draw * 0
    if TOGETHER:
        place = (of_draw % num_samples) & ((1 << BITS) - 1)
        of_draw -= place
    number = of_draw
    if HAS_ROWS:
        number = tl.load(rows + of_draw, mask=is_row, other=0)
    index = tl.load(words + 4) + of_draw * 0
    if HAS_INDICES:
        index = tl.load(indices + of_draw, mask=is_row, other=0)
    if BITS:
        if not TOGETHER:
            place = index & ((1 << BITS) - 1)
        index = (index >> BITS) ^ -2147483648
    unit = (element // inner) * outer_step + (element % inner) * inner_step
    word = _words(number, index, unit, words)
    if BITS:
        word = _in_strata(word, place[:, None], BITS)
    dtype: tl.constexpr = outputs.dtype.element_ty
    precise: tl.constexpr = tl.float64 if dtype == tl.float64 else tl.float32
    if WHAT == _UNIFORM:
        part = (word.to(tl.int32, bitcast=True) >> 9).to(precise)
        tl.store(outputs + at, (part + 0.5) * (2.0**-22), mask=inside)
    else:
        rate = tl.load(words + 5).to(tl.float32, bitcast=True)
        if HAS_HALF:
            half = tl.load(words + 6)
        else:
            below_one = tl.where(rate < 1.0, rate, 0.0)
            half = (below_one * 2147483648.0).to(tl.int32)
        keep = _survives(word, rate, half)
        if WHAT == _MASK:
            tl.store(outputs + at, keep, mask=inside)
        else:
            value = tl.load(inputs + at, mask=inside, other=0.0)
            value = _scaled(
                value, keep, rate, scale, shift, dtype, precise, WHAT, FILL
            )
            tl.store(outputs + at, value.to(dtype), mask=inside)
