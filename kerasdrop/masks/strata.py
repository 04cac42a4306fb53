"""Stratified words: each set of samples has one word in each stratum."""

import functools

import numpy as np

from kerasdrop import _backend
from kerasdrop._backend import ops
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Shape
from kerasdrop._types import Tensor
from kerasdrop.masks import int32
from kerasdrop.masks import uniform
from kerasdrop.masks.draws import Draw


def stratified_words(
    draw: Draw, shape: Shape, units: Tensor | None = None
) -> Tensor:
    """Words with one word in each stratum for each set of indices.

    This is Latin hypercube sampling (McKay, Beckman & Conover 1979): over the
    `set_size` indices of a set, a unit's words fall once into each of
    `set_size` equal parts of their range, the strata, in an order that is
    random for each row and unit. The distribution of a single word is thus
    unchanged, while over a set a unit is dropped `rate * set_size` times,
    rounded up or down.

    One word determines all words of a set. Its lowest bits choose one of
    `set_size ** 3` permutations of the strata by integer arithmetic: shift the
    index, multiply modulo the prime after the set size, shift again. For two
    units this is as good as a permutation drawn from all: the mean over a set
    of the product of two balanced signs has, for sets of 16, 16/15 times the
    variance that independent samples have. The highest bits are the place
    within the stratum. It is the same for the whole set, in which a rate cuts
    at most one stratum. For each index the map from that word to the result is
    one to one.
    """
    bits = _set_size(draw).bit_length() - 1
    if units is not None:
        # Samples of a row may have other units, so each finds its set by
        # itself.
        draw = draw._replace(num_samples=1)
    choice, place = _choice_and_place(draw, shape, units)
    return _of_samples(_in_strata(choice, place, bits), draw, shape)


def _set_size(draw: Draw) -> int:
    # Draws without sets do not come here.
    return draw.set_size  # type: ignore[return-value]


def _choice_and_place(
    draw: Draw, shape: Shape, units: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the word that a set of indices shares, and places in the set.

    Returns:
        The word of each set, int32 `(sets, 1, ...)`, and the requested places
        in a set, int32 with as many axes: `(1, places, ...)` if samples come
        together, `(sets, 1, ...)` or of size 1 if they come one by one.
    """
    size, num_samples = _set_size(draw), draw.num_samples
    bits = size.bit_length() - 1
    index, rows = ops.convert_to_tensor(draw.index), draw.rows
    if num_samples == 1:
        place = ops.reshape(int32.low_bits(index + 0, bits), (-1, 1))
    else:
        place = np.arange(min(num_samples, size), dtype="int32")[None]
        place = ops.convert_to_tensor(place)
        index, rows = (
            ops.reshape(ops.reshape(of, (-1, num_samples))[:, ::size], (-1,))
            for of in (index, rows)
        )
    # The sign bit separates these words from those of any index.
    of_set = int32.signed_shifted(index, bits) ^ int32.LOWEST
    of_sets = Draw(draw.key, of_set, rows)
    choice = uniform.independent_words(of_sets, shape, units)
    place = place[(..., *(None,) * len(shape[1:]))]
    return ops.expand_dims(choice, 1), place


def _in_strata(choice: Tensor, place: Tensor, bits: int) -> Tensor:
    """The words at places in a set, from the word of the set."""
    # Numbers from 1 to `size` are a group under multiplication modulo the prime
    # `size + 1`, where `size` is -1, so no division is necessary. With
    # augmented assignments PyTorch works in place.
    word = int32.low_bits(int32.low_bits(choice + 0, bits) + place, bits)
    word += 1
    word *= int32.low_bits(int32.shifted(choice, bits), bits) + 1
    high = int32.signed_shifted(word, bits)
    word = int32.low_bits(word, bits)
    word -= high
    # If negative, it lacks `size + 1`, of which only the 1 counts here.
    word -= int32.signed_shifted(word, 31)
    word += int32.low_bits(int32.shifted(choice, 2 * bits), bits) - 1
    word = int32.low_bits(word, bits)
    # Words are signed: the lowest stratum begins at the lowest int32.
    word -= 1 << (bits - 1)
    word *= 1 << (32 - bits)
    word += int32.shifted(choice, bits)
    return word


def _of_samples(of_sets: Tensor, draw: Draw, shape: Shape) -> Tensor:
    """Reshapes `(sets, places, ...)` to `shape`, with successive samples."""
    size, num_samples = _set_size(draw), draw.num_samples
    if num_samples % size and num_samples > size:
        per_row = (-1, -(-num_samples // size) * size)
        of_sets = ops.reshape(of_sets, (*per_row, *shape[1:]))[:, :num_samples]
    return ops.reshape(of_sets, (-1, *shape[1:]))


# Sets of 16 have a table: the word of a set gives the decisions of all its
# places at once, as the bits of an int16. That takes 3 operations for a sample,
# where the words themselves take 13.
_TABLE_BITS = 4

_PERMUTATION_BITS = 3 * _TABLE_BITS


@functools.lru_cache(maxsize=1)
def _stored_decisions(size: tuple[int, ...]) -> Array:
    """Decisions by the lowest stratum to keep, 0 to 16, and the permutation."""
    choice = np.arange(2**_PERMUTATION_BITS)[:, None]
    shift, factor, last_shift = choice % 16, choice // 16 % 16, choice // 256
    place = np.arange(16)
    strata = ((place + shift) % 16 + 1) * (factor + 1) % 17 - 1 + last_shift
    keep = strata % 16 >= np.arange(17)[:, None, None]
    decisions = np.packbits(keep, axis=-1, bitorder="little").view("<i2")
    return decisions.astype("int16").reshape(size)


_decision_table = _backend.table("decisions", _stored_decisions, "int16")


def kept_in_sets(draw: Draw, shape: Shape, rate: Tensor) -> Tensor:
    """`keeping._survivors` for samples in sets of 16."""
    choice, place = _choice_and_place(draw, shape)
    lowest_kept = threshold(rate)
    within = 31 - _TABLE_BITS
    # In the stratum that the threshold cuts, the place within it decides.
    lowest = ops.cast(
        int32.shifted(choice, _TABLE_BITS)
        < int32.low_bits(lowest_kept + 0, within) * 2,
        "int32",
    )
    lowest += int32.shifted(lowest_kept, within)
    lowest += ops.cast(rate >= 1.0, "int32") * 2**_TABLE_BITS
    lowest *= 2**_PERMUTATION_BITS
    lowest += int32.low_bits(choice, _PERMUTATION_BITS)
    table = _decision_table(17 * 2**_PERMUTATION_BITS, choice)
    decisions = _backend.entries(table, lowest)
    place_bits = (2 ** np.arange(16)).astype("uint16").view("int16")
    place_bits = place_bits[: min(draw.num_samples, 16)]
    place_bits = ops.convert_to_tensor(place_bits)
    place_bits = ops.reshape(place_bits, place.shape)
    keep = ops.cast(decisions & place_bits, "bool")
    return _of_samples(keep, draw, shape)


def threshold(rate: Given) -> Given:
    """Half of the lowest word that is kept, an int32 from 0 on.

    It has 31 bits, so that a float32 rate is met exactly (to 2**-31) and a
    bfloat16 model does not round it. At rate 1 no word is kept, and the result
    is 0; for NaN, too. For a scalar array the result is an integer.
    """
    if isinstance(rate, np.ndarray):
        number = float(rate)
        return int(number * 2.0**31) if number < 1.0 else 0
    below_one = ops.where(rate < 1.0, rate, ops.zeros_like(rate))
    return ops.cast(below_one * 2.0**31, "int32")
