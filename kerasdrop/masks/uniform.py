"""Independent uniform words, one for each row and unit."""

import functools

import numpy as np

from kerasdrop import _backend
from kerasdrop._backend import ops
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.masks import draws
from kerasdrop.masks import int32
from kerasdrop.masks.draws import Draw

_WORD_ROUNDS = ((16, int32.signed(0x7FEB352D)), (15, int32.signed(0x846CA68B)))

_WORD_LAST_SHIFT = 16


def independent_words(
    draw: Draw, shape: Shape, units: Tensor | None = None
) -> Tensor:
    word = _unfinished_words(draw, shape, units)
    word = _backend.bitwise_xor(word, int32.shifted(word, _WORD_LAST_SHIFT))
    return ops.convert_to_tensor(word) if _is_array(word) else word


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
    word = _unfinished_words(draw, shape, units, isinstance(lowest, int))
    word = _backend.bitwise_xor(word, int32.shifted(lowest, _WORD_LAST_SHIFT))
    keep = word >= lowest
    return _backend.tensor_of(keep, like) if _is_array(keep) else keep


def _is_array(word: Given) -> bool:
    return isinstance(word, np.ndarray)


def _unfinished_words(
    draw: Draw, shape: Shape, numbers: Tensor | None, at_hand: bool = True
) -> Given:
    """The words before the last shift, for units by place or by number.

    They are an array if `at_hand` is True and their inputs are at hand.
    """
    known = None
    if at_hand and numbers is None:
        known = draws.keys_at_hand(draw, shape)
    keys, units = known or _keys(draw, shape, numbers)
    # This uses indices, because on PyTorch the checks of `ops.reshape` take
    # longer than the arithmetic of a small mask.
    per_row = (slice(None), *(None,) * (len(shape) - 1))
    word = keys[(0, *per_row)] + units
    between = keys[(1, *per_row)]
    for round_, (shift, factor) in enumerate(_WORD_ROUNDS):
        word = _backend.bitwise_xor(word, int32.shifted(word, shift))
        word *= factor
        if round_ == 0:
            word = _backend.bitwise_xor(word, between)
    return word if shape else ops.reshape(word, ())


def _keys(
    draw: Draw, shape: Shape, numbers: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The keys of rows, `(2, rows)`, and of units, in the shape of a row."""
    num_rows, unit_shape = (shape[0], tuple(shape[1:])) if shape else (1, ())
    keys = draws.row_keys(draw, num_rows)
    if numbers is not None:
        return keys, draws.keys_of_units(numbers)
    num_units = functools.reduce(lambda a, b: a * b, unit_shape, 1)
    units = draws.unit_keys(num_units, keys)
    if len(unit_shape) > 1:
        units = ops.reshape(units, unit_shape)
    return keys, units
