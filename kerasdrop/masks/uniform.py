"""Uniform words, one for each row and unit, independent of each other."""

import functools

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
    word ^= int32.shifted(word, _WORD_LAST_SHIFT)
    return word


def independent_words_from(
    draw: Draw, shape: Shape, lowest: Given, units: Tensor | None = None
) -> Tensor:
    """Whether words are `lowest` at least: a bool tensor of that shape.

    `w ^ (w >> 16)` is compared with `t` as `w ^ (t >> 16)` is: the lower
    halves decide where the upper ones are equal, and these do not change.

    Args:
        draw: A `Draw`.
        shape: As in `words`.
        lowest: int32 scalar tensor, or an integer.
        units: None for a unit at each place of a row; or an int32 tensor of
            that shape, the numbers of the units.
    """
    word = _unfinished_words(draw, shape, units)
    word ^= int32.shifted(lowest, _WORD_LAST_SHIFT)
    return word >= lowest


def _unfinished_words(
    draw: Draw, shape: Shape, numbers: Tensor | None
) -> Tensor:
    num_rows, unit_shape = (shape[0], tuple(shape[1:])) if shape else (1, ())
    keys = draws.row_keys(draw, num_rows)
    if numbers is not None:
        units = draws.keys_of_units(numbers)
    else:
        num_units = functools.reduce(lambda a, b: a * b, unit_shape, 1)
        units = draws.unit_keys(num_units, keys)
        if len(unit_shape) > 1:
            units = ops.reshape(units, unit_shape)
    # Indices and not `ops.reshape`, whose checks take longer, on PyTorch, than
    # the arithmetic of a small mask.
    per_row = (slice(None), *(None,) * len(unit_shape))
    word = keys[(0, *per_row)] + units
    between = keys[(1, *per_row)]
    for round_, (shift, factor) in enumerate(_WORD_ROUNDS):
        word ^= int32.shifted(word, shift)
        word *= factor
        if round_ == 0:
            word ^= between
    return word if shape else ops.reshape(word, ())
