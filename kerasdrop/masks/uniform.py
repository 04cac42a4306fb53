"""Independent uniform words, one for each row and unit."""

import functools
import math

import numpy as np

from kerasdrop import _backend
from kerasdrop._backend import ops
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.masks import draws
from kerasdrop.masks import int32
from kerasdrop.masks.draws import Draw

_WORD_ROUNDS = ((16, int32.signed(0x7FEB352D)), (15, int32.signed(0x846CA68B)))

_WORD_LAST_SHIFT = 16

# For more words PyTorch's threads are faster than NumPy. If a mask has fewer,
# the words of some steps ahead are made with it.
_MOST_AT_HAND = 2**15
_MOST_STEPS_AHEAD = 2**6


def independent_words(
    draw: Draw, shape: Shape, units: Tensor | None = None
) -> Tensor:
    word = _words_at_hand(draw, shape) if units is None else None
    if word is not None:
        return ops.convert_to_tensor(
            word ^ int32.shifted(word, _WORD_LAST_SHIFT)
        )
    word = _unfinished_words(draw, shape, units)
    return _backend.bitwise_xor(word, int32.shifted(word, _WORD_LAST_SHIFT))


def independent_words_from(
    draw: Draw,
    shape: Shape,
    lowest: Given,
    like: Tensor,
    units: Tensor | None = None,
) -> Tensor:
    """Whether words are at least `lowest`, a bool tensor of this shape.

    Comparing `w ^ (w >> 16)` with `t` is the same as comparing `w ^ (t >> 16)`
    with `t`: the lower halves only decide where the upper halves, which do not
    change, are equal.

    Args:
        draw: A `Draw`.
        shape: As in `words`.
        lowest: int32 scalar tensor, or an integer.
        like: A tensor on the device of the result.
        units: The numbers of the units, an int32 tensor of this shape; None for
            one unit at each place of a row.
    """
    low_half = int32.shifted(lowest, _WORD_LAST_SHIFT)
    if units is None and isinstance(lowest, int):
        at_hand = _words_at_hand(draw, shape)
        if at_hand is not None:
            return _backend.tensor_of((at_hand ^ low_half) >= lowest, like)
    word = _unfinished_words(draw, shape, units)
    return _backend.bitwise_xor(word, low_half) >= lowest


def _words_at_hand(draw: Draw, shape: Shape) -> Array | None:
    """Unfinished words as an array, not to be written to.

    None if their inputs are not at hand, or for too many words.
    """
    known = _backend.at_hand(draw.key, draw.index, draw.rows)
    if known is None or not shape:
        return None
    num_words = math.prod(shape)
    if num_words > _MOST_AT_HAND:
        return None
    key, index, rows = known
    if index.ndim or rows.dtype != object or key.size != 4:
        return _unfinished_arrays(key, index, rows, shape)
    steps = min(_MOST_STEPS_AHEAD, _MOST_AT_HAND // max(num_words, 1))
    steps = 1 << (steps.bit_length() - 1)  # so no block ends beyond 2**31
    # As elsewhere, the lowest 32 bits count.
    block, place = divmod(int(index.astype("int32", copy=False)), steps)
    return _words_ahead(key.tobytes(), block, steps, shape)[place]


@functools.lru_cache(maxsize=256)
def _words_ahead(key: bytes, block: int, steps: int, shape: Shape) -> Array:
    """Unfinished words of successive indices, on a new first axis.

    For a small mask, many of them take little longer than one.
    """
    index = np.arange(steps, dtype="int32")[:, None] + block * steps
    words = np.frombuffer(key, "int32").reshape(2, 2, 1, 1)
    return _unfinished_arrays(words, index, np.array(None), shape)


def _unfinished_arrays(
    key: Array, index: Array, rows: Array, shape: Shape
) -> Array:
    keys = draws.row_keys_of_arrays(key, index, rows, shape[0])
    keys = keys.reshape(*keys.shape, *(1,) * (len(shape) - 1))
    units = draws.stored_unit_keys(math.prod(shape[1:])).reshape(shape[1:])
    return _mixed(keys[0], keys[1], units)


def _unfinished_words(
    draw: Draw, shape: Shape, numbers: Tensor | None
) -> Tensor:
    """The words before the last shift, for units by place or by number."""
    num_rows, unit_shape = (shape[0], tuple(shape[1:])) if shape else (1, ())
    keys = draws.row_keys(draw, num_rows)
    if numbers is not None:
        units = draws.keys_of_units(numbers)
    else:
        num_units = functools.reduce(lambda a, b: a * b, unit_shape, 1)
        units = draws.unit_keys(num_units, keys)
        if len(unit_shape) > 1:
            units = ops.reshape(units, unit_shape)
    # This uses indices, because on PyTorch the checks of `ops.reshape` take
    # longer than the arithmetic of a small mask.
    per_row = (slice(None), *(None,) * len(unit_shape))
    word = _mixed(keys[(0, *per_row)], keys[(1, *per_row)], units)
    return word if shape else ops.reshape(word, ())


def _mixed(first: Given, between: Given, units: Given) -> Given:
    """Words of the two keys of each row and the key of each unit."""
    word = first + units
    for round_, (shift, factor) in enumerate(_WORD_ROUNDS):
        word = _backend.bitwise_xor(word, int32.shifted(word, shift))
        word *= factor
        if round_ == 0:
            word = _backend.bitwise_xor(word, between)
    return word
