"""Where random bits come from, and how they become keep masks.

Every random decision of the package is a pure function of integers: of a key
(made from the seed), of an index (the training step, or the index of a Monte
Carlo sample), of the row (a place in the batch or in the data) and of the unit
(a place in the row). It is wrapping int32 arithmetic and nothing else, so the
same key gives the same mask on TensorFlow, JAX and PyTorch, eager or compiled,
in any compute dtype, for any batch size, and no generator has a state that
could move.

How a word is made:

1. `key_of_seed`: Threefry-2x32-20 (Salmon et al. 2011) of the seed, on the
   host, gives a key of four words.
2. `row_keys`: two words for each row, an integer hash of (key, index, row).
3. `unit_keys`: one word for each unit, an integer hash of its place.
4. `words`: row key + unit key, then two rounds of xorshift and multiply, with
   the second row key xored in between.

So the expensive hashing is done once for each row and each unit, and an
element costs about as much as the memory pass it rides on. `benchmarks/bits.py`
writes the words out for any statistical battery. No test of TestU01's
SmallCrush or of `dieharder -a` fails, on tall, square and small shapes. Of a
wide one, 16 rows of 65,536 units, dieharder saw fewer tests (not -d 5, 6, 7;
-d 200 to 203 with few settings of -n). None failed; of 75 p-values one was
called weak (bit distribution, n = 1: .9999; of other words, with 5 times as
many samples: .85).

Known weaknesses of step 4: the decisions of two units in a row are correlated
if their keys differ, modulo 2**32 and either way round, by

| difference | rate .5 | .25, .75 | .1, .9 |
|---|---|---|---|
| 2**31 + 2**15 | .2 | .1 | -.06 |
| 2**29 +- 2**13 | -.02 | -.014 | 0 |
| 2**30 + 2**29 +- 2**13 | -.016 | -.011 | -.005 |
| 2**30 +- 2**14 | 0 | .012 | 0 |
| 2**28 +- 2**12 | -.009 | -.007 | 0 |

(0: below .005.) All sums of up to three powers of two of either sign were tried
at rates .1, .25 and .5: no other difference makes .007. Unit keys are the same
for all layers, so it is known which units these are: 1 pair among the first
10,000 of a row, 6 among 65,536 (one of them with .2), 138 among 262,144 (16
with .2). A test counts them.
"""

import functools
from typing import NamedTuple

import numpy as np
from keras import ops

from kerasdrop import _backend
from kerasdrop import _bits
from kerasdrop import _checks
from kerasdrop import rows as row_numbers
from kerasdrop.montecarlo import refusals

_LOW_32 = 0xFFFFFFFF


def _int32(word):
    """The int32 with the same bits as an unsigned 32-bit word."""
    word &= _LOW_32
    return word - 2**32 if word >= 2**31 else word


_THREEFRY_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_THREEFRY_ROUNDS = 20
_THREEFRY_PARITY = 0x1BD11BDA

# Odd multipliers and shifts of published bijective 32-bit hashes with low bias
# (C. Wellons, "triple32" and "lowbias32", public domain).
_HASH_ROUNDS = (
    (17, _int32(0xED5AD4BB)),
    (11, _int32(0xAC4C1B51)),
    (15, _int32(0x31848BAB)),
)
_HASH_LAST_SHIFT = 14
_WORD_ROUNDS = ((16, _int32(0x7FEB352D)), (15, _int32(0x846CA68B)))
_WORD_LAST_SHIFT = 16

# (index, row) -> (row + A index, B row + index) loses nothing: A is even, so
# the determinant 1 - A B is odd and the map is one to one modulo 2**32.
_INDEX_FACTOR = _int32(0x9E3779B2)
_ROW_FACTOR = _int32(0x85EBCA6B)

# Unit keys are the same for all layers: digits of pi, nothing up the sleeve.
_UNIT_KEY = (_int32(0x243F6A88), _int32(0x85A308D3))

# Larger rows have their unit keys computed in the graph, not stored in it.
_LARGEST_STORED_ROW = 2**16

_ROWS_PER_REPLICA = 2**24

_INT32_MIN = -(2**31)
_INT32_MAX = 2**31 - 1


class Draw(NamedTuple):
    """What a mask depends on, besides its shape.

    Attributes:
        key: int32 tensor or array `(2, 2, 1)`, from `key_of_seed` or
            `derived_key`.
        index: int32, scalar or `(rows,)`: the number of the draw.
        rows: int32 `(rows,)`: each row's place in the data; None for
            `0, 1, 2, ...`, the place in the batch.
        set_size: 4, 16 or 256, each one less than a prime: stratified words,
            in sets of so many successive indices. None: independent words.
        num_samples: Integer. So many successive rows of a tensor belong
            together: they have the same `rows` and successive indices, of
            which the first begins a set.
        batch: None, or int32 `(1,)`, a number of the whole batch. With it a
            tensor whose first axis is not `rows` has its rows numbered by
            their place, in masks of this batch alone; without, it is refused.
        keep_all: None, True, or a bool scalar tensor: whether nothing is
            dropped and no noise added, so that each layer makes what it makes
            at inference.
    """

    key: object
    index: object
    rows: object = None
    set_size: object = None
    num_samples: int = 1
    batch: object = None
    keep_all: object = None


def threefry_2x32(key, counter):
    """Threefry-2x32-20 on Python integers, or on int64 arrays of them.

    Args:
        key, counter: Pairs of integers in [0, 2**32).

    Returns:
        A pair of integers in [0, 2**32).

    Reference: Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy
    as 1, 2, 3", SC 2011, section 3.3.
    """
    schedule = (*key, _THREEFRY_PARITY ^ key[0] ^ key[1])
    first = (counter[0] + schedule[0]) & _LOW_32
    second = (counter[1] + schedule[1]) & _LOW_32
    for round_ in range(_THREEFRY_ROUNDS):
        by = _THREEFRY_ROTATIONS[round_ % 8]
        first = (first + second) & _LOW_32
        second = ((second << by) | (second >> (32 - by))) & _LOW_32
        second ^= first
        if round_ % 4 == 3:
            injection = round_ // 4 + 1
            first = (first + schedule[injection % 3]) & _LOW_32
            second += schedule[(injection + 1) % 3] + injection
            second &= _LOW_32
    return first, second


def key_of_seed(seed):
    """The key of a seed: an int32 array `(2, 2, 1)`.

    Args:
        seed: Any integer; its lowest 64 bits count. Or an int64 array
            `(seeds,)`, for keys `(seeds, 2, 2, 1)`.
    """
    pair = (seed & _LOW_32, (seed >> 32) & _LOW_32)
    words = [
        word for block in (0, 1) for word in threefry_2x32(pair, (block, 0))
    ]
    words = np.array(words, "uint32").view("int32").T
    return words.reshape(*np.shape(seed), 2, 2, 1)


def key_of_seed_tensor(seed):
    """`key_of_seed` of an int32 scalar tensor: an int32 tensor `(2, 2, 1)`."""
    seed = _bits.wrapped(_bits.widened(seed))
    high = _bits.wrapped(-_bits.shifted(seed, 31))
    schedule = (seed, high, seed ^ high ^ _THREEFRY_PARITY)
    # Both blocks at once.
    first = ops.convert_to_tensor(np.arange(2, dtype="int32")) + schedule[0]
    second = ops.convert_to_tensor(np.zeros(2, "int32")) + schedule[1]
    for round_ in range(_THREEFRY_ROUNDS):
        by = _THREEFRY_ROTATIONS[round_ % 8]
        first = _bits.wrapped(first + second)
        # The two parts of a rotation have no bit in common.
        rotated = second * (1 << by) + _bits.shifted(second, 32 - by)
        second = _bits.wrapped(rotated) ^ first
        if round_ % 4 == 3:
            injection = round_ // 4 + 1
            first = _bits.wrapped(first + schedule[injection % 3])
            second = second + schedule[(injection + 1) % 3] + injection
            second = _bits.wrapped(second)
    pair = _bits.narrowed(ops.stack([first, second], axis=1))
    return ops.reshape(pair, (2, 2, 1))


def derived_seed(seed, index):
    """The seed of child number `index` of a seed: an integer, or None of None.

    Its key has nothing in common with that of `seed`, nor of other children.
    """
    if seed is None:
        return None
    low, high = threefry_2x32(
        (seed & _LOW_32, (seed >> 32) & _LOW_32), (index, 1)
    )
    return low + (high << 32)


def derived_key(key, index):
    """The key of child number `index` of `key`: an int32 tensor `(2, 2, 1)`."""
    pair = row_keys(Draw(key, index, np.arange(2, dtype="int32")), 2)
    return ops.reshape(pair, (2, 2, 1))


def derived_keys(key, indices):
    """`derived_key` of each of a list of integers, in as few operations."""
    count = len(indices)
    if count == 0:
        return []
    index = np.repeat(np.array(indices, "int32"), 2)
    rows = np.tile(np.arange(2, dtype="int32"), count)
    pairs = row_keys(Draw(key, index, rows), 2 * count)
    pairs = ops.reshape(pairs, (2, count, 2, 1))
    return [pairs[:, number] for number in range(count)]


def _hash(word, first_key, second_key):
    """Three rounds of xorshift and multiply, keyed before and after the first.

    `word` is written with augmented assignments: PyTorch then works in place,
    the other backends make a new tensor as usual. It comes `_bits.widened`,
    and goes as int32.
    """
    word = _bits.wrapped(word + first_key)
    for round_, (shift, factor) in enumerate(_HASH_ROUNDS):
        word ^= _bits.shifted(word, shift)
        word *= factor
        if round_ == 0:
            word ^= second_key
        word = _bits.wrapped(word)
    word ^= _bits.shifted(word, _HASH_LAST_SHIFT)
    return _bits.narrowed(word)


def rows_of_batch(inputs):
    """The `Draw.rows` of a batch: None, but where it is a part of one.

    A `row_scope` tells which part. Without one, each replica takes its rows
    from another part of the row numbers, so that replicas do not repeat each
    other's masks: whatever their seeds are, and also where all have the key
    of one of them.
    """
    scope = row_numbers.current_scope()
    if scope is not None:
        return scope.rows_of(inputs)
    replica, count = _backend.replica()
    if isinstance(replica, int) and replica == 0:
        return None
    # There are 2**32 row numbers: of many replicas each has fewer.
    first_row = replica * min(_ROWS_PER_REPLICA, 2**32 // count)
    if isinstance(first_row, int):
        first_row = _int32(first_row)
    return ops.arange(ops.shape(inputs)[0], dtype="int32") + first_row


def row_keys(draw, num_rows):
    """Two key words for each row: int32 `(2, num_rows)`."""
    if draw.rows is None:
        rows = ops.arange(num_rows, dtype="int32")
    else:
        rows = ops.convert_to_tensor(draw.rows)
    key = ops.convert_to_tensor(draw.key)
    rows = _bits.widened(rows)
    index = _bits.widened(ops.convert_to_tensor(draw.index))
    pair = ops.stack([rows + index * _INDEX_FACTOR, rows * _ROW_FACTOR + index])
    return _hash(pair, key[0], key[1])


def unit_keys(num_units, like):
    """One key word for each unit: int32 `(num_units,)`, where `like` is."""
    if isinstance(num_units, int) and num_units <= _LARGEST_STORED_ROW:
        return _unit_key_table(num_units, like)
    units = _bits.widened(ops.arange(num_units, dtype="int32"))
    return _hash(units, *_UNIT_KEY)


@functools.lru_cache(maxsize=64)
def _stored_unit_keys(num_units):
    with np.errstate(over="ignore"):
        word = np.arange(num_units, dtype="uint32")
        word = word + np.uint32(_UNIT_KEY[0] & _LOW_32)
        for round_, (shift, factor) in enumerate(_HASH_ROUNDS):
            word ^= word >> np.uint32(shift)
            word *= np.uint32(factor & _LOW_32)
            if round_ == 0:
                word ^= np.uint32(_UNIT_KEY[1] & _LOW_32)
        word ^= word >> np.uint32(_HASH_LAST_SHIFT)
    return word.view("int32")


_unit_key_table = _backend.table("unit_keys", _stored_unit_keys)


def words(draw, shape):
    """Uniform 32-bit words.

    Args:
        draw: A `Draw`.
        shape: Sizes, axis 0 being the row; each an integer or an int tensor.
            The same row and unit get the same word whatever the other rows.

    Returns:
        An int32 tensor of that shape.
    """
    make = _independent_words if draw.set_size is None else _stratified_words
    return unless_all_is_kept(draw, make(draw, shape), _INT32_MAX)


def _stratified_words(draw, shape):
    """Words of which each set of indices has one in each stratum.

    Latin hypercube sampling (McKay, Beckman & Conover 1979): over the
    `set_size` indices of a set, a unit's words fall once into each of as many
    equal parts of their range, in an order that is random for each row and
    unit. So a single word is distributed as ever, while over a set a unit is
    dropped `rate * set_size` times, give or take less than one.

    One word of a set makes them all. Its lowest bits choose a permutation of
    the strata by integer arithmetic, one of `set_size ** 3`: shift the index,
    multiply modulo the prime behind the set size, shift again. For two units
    it does what a permutation drawn from all would: the mean over a set of the
    product of two balanced signs has, at sets of 16, 16/15 times the variance
    that independent samples give it. The highest bits are the place within the
    stratum, the same for the whole set, of which one stratum at most is cut by
    a rate. For each index the map from that word to the result is one to one.
    """
    bits = draw.set_size.bit_length() - 1
    choice, place = _choice_and_place(draw, shape)
    return _of_samples(_in_strata(choice, place, bits), draw, shape)


def _choice_and_place(draw, shape):
    """What a set of indices has in common, and the places in it.

    Returns:
        The word of each set, int32 `(sets, 1, ...)`, and the places in a set
        that are asked for, int32, of as many axes: `(1, places, ...)` if
        samples come together, `(sets, 1, ...)` or of size 1 if one by one.
    """
    size, num_samples = draw.set_size, draw.num_samples
    bits = size.bit_length() - 1
    index, rows = ops.convert_to_tensor(draw.index), draw.rows
    if num_samples == 1:
        place = ops.reshape(_bits.low_bits(index + 0, bits), (-1, 1))
    else:
        place = np.arange(min(num_samples, size), dtype="int32")[None]
        place = ops.convert_to_tensor(place)
        index, rows = (
            ops.reshape(ops.reshape(of, (-1, num_samples))[:, ::size], (-1,))
            for of in (index, rows)
        )
    # The sign bit keeps these words apart from those of any index.
    of_set = _bits.signed_shifted(index, bits) ^ _INT32_MIN
    choice = _independent_words(Draw(draw.key, of_set, rows), shape)
    place = place[(..., *(None,) * len(shape[1:]))]
    return ops.expand_dims(choice, 1), place


def _in_strata(choice, place, bits):
    """The words that a word of sets stands for, at places in the set."""
    # Numbers from 1 to `size` are a group under multiplication modulo the
    # prime `size + 1`, where `size` is -1: so no division is needed. PyTorch
    # works in place where assignments are augmented.
    word = _bits.low_bits(_bits.low_bits(choice + 0, bits) + place, bits)
    word += 1
    word *= _bits.low_bits(_bits.shifted(choice, bits), bits) + 1
    high = _bits.signed_shifted(word, bits)
    word = _bits.low_bits(word, bits)
    word -= high
    # Below 0 it lacks `size + 1`, of which here only the 1 counts.
    word -= _bits.signed_shifted(word, 31)
    word += _bits.low_bits(_bits.shifted(choice, 2 * bits), bits) - 1
    word = _bits.low_bits(word, bits)
    # Signed words: the lowest stratum begins at the lowest int32.
    word -= 1 << (bits - 1)
    word *= 1 << (32 - bits)
    word += _bits.shifted(choice, bits)
    return word


def _of_samples(of_sets, draw, shape):
    """`(sets, places, ...)` to `shape`, one after another the samples."""
    size, num_samples = draw.set_size, draw.num_samples
    if num_samples % size and num_samples > size:
        per_row = (-1, -(-num_samples // size) * size)
        of_sets = ops.reshape(of_sets, (*per_row, *shape[1:]))[:, :num_samples]
    return ops.reshape(of_sets, (-1, *shape[1:]))


# Sets of 16 have a table: a word of a set gives the decisions of all its places
# at once, as the bits of an int16. It takes 3 operations of a sample where the
# words themselves take 13.
_TABLE_BITS = 4
_PERMUTATION_BITS = 3 * _TABLE_BITS


@functools.lru_cache(maxsize=1)
def _stored_decisions(size):
    """Of each lowest stratum to be kept, 0 to 16, for each permutation."""
    choice = np.arange(2**_PERMUTATION_BITS)[:, None]
    shift, factor, last_shift = choice % 16, choice // 16 % 16, choice // 256
    place = np.arange(16)
    strata = ((place + shift) % 16 + 1) * (factor + 1) % 17 - 1 + last_shift
    keep = strata % 16 >= np.arange(17)[:, None, None]
    decisions = np.packbits(keep, axis=-1, bitorder="little").view("<i2")
    return decisions.astype("int16").reshape(size)


_decision_table = _backend.table("decisions", _stored_decisions, "int16")


def _kept_in_sets(draw, shape, rate):
    """`_survives(words(draw, shape), rate)` for samples in sets of 16."""
    choice, place = _choice_and_place(draw, shape)
    threshold = _threshold(rate)
    within = 31 - _TABLE_BITS
    # Of the stratum that the threshold cuts, the place in it decides.
    lowest = ops.cast(
        _bits.shifted(choice, _TABLE_BITS)
        < _bits.low_bits(threshold + 0, within) * 2,
        "int32",
    )
    lowest += _bits.shifted(threshold, within)
    lowest += ops.cast(rate >= 1.0, "int32") * 2**_TABLE_BITS
    lowest *= 2**_PERMUTATION_BITS
    lowest += _bits.low_bits(choice, _PERMUTATION_BITS)
    table = _decision_table(17 * 2**_PERMUTATION_BITS, choice)
    decisions = ops.take(table, lowest)
    place_bits = (2 ** np.arange(16)).astype("uint16").view("int16")
    place_bits = place_bits[: min(draw.num_samples, 16)]
    place_bits = ops.convert_to_tensor(place_bits)
    place_bits = ops.reshape(place_bits, place.shape)
    keep = ops.cast(decisions & place_bits, "bool")
    return _of_samples(keep, draw, shape)


def _independent_words(draw, shape):
    num_rows, unit_shape = (shape[0], tuple(shape[1:])) if shape else (1, ())
    keys = row_keys(draw, num_rows)
    num_units = functools.reduce(lambda a, b: a * b, unit_shape, 1)
    units = unit_keys(num_units, keys)
    if len(unit_shape) > 1:
        units = ops.reshape(units, unit_shape)
    # Indices and not `ops.reshape`, whose checks take longer, on PyTorch, than
    # the arithmetic of a small mask.
    per_row = (slice(None), *(None,) * len(unit_shape))
    word = keys[(0, *per_row)] + units
    between = keys[(1, *per_row)]
    for round_, (shift, factor) in enumerate(_WORD_ROUNDS):
        word ^= _bits.shifted(word, shift)
        word *= factor
        if round_ == 0:
            word ^= between
    word ^= _bits.shifted(word, _WORD_LAST_SHIFT)
    return word if shape else ops.reshape(word, ())


def for_noise(inputs, draw, noise_shape=None):
    """The draw and the sizes of a noise: one word for all that share it.

    Args:
        inputs: Tensor; axis 0 is the row.
        draw: A `Draw`.
        noise_shape: As in `keras.layers.Dropout`, or None.

    Returns:
        A `Draw`; and a tuple, of the inputs' sizes or of `noise_shape` with
        each None replaced by one of them.
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


def _check_rows_of_noise(noise_shape, draw):
    """Raises if a noise is for another number of rows than the draw."""
    fixed = noise_shape[0] if noise_shape else None
    if draw.rows is None or fixed in (None, 1):
        return
    if draw.rows.shape[0] not in (None, fixed):
        raise ValueError(
            f"noise_shape={noise_shape} fixes the number of rows, while a "
            "Monte Carlo pass runs each row once for each sample. Make the "
            "first entry None, for a mask for each row, or 1, for one mask for "
            f"all rows: noise_shape={(None, *noise_shape[1:])}. Or: "
            "pass `vectorized=False`, which runs one sample at a time."
        )


def _keep(inputs, key, index, rows, set_size, num_samples, rate, noise_shape):
    draw = Draw(key, index, rows, set_size, num_samples)
    draw, sizes = for_noise(inputs, draw, noise_shape)
    # What reads an exported graph may not know int16.
    if set_size == 16 and num_samples > 1 and not _backend.is_exporting():
        return _kept_in_sets(draw, sizes, rate)
    return _survives(words(draw, sizes), rate)


def _threshold(rate):
    """Half of the lowest word that is kept: an int32 from 0 on.

    It has 31 bits, so that a float32 rate is met exactly (to 2**-31) and a
    bfloat16 model does not round it. There is none at rate 1, where no word is
    kept: 0, and of NaN, too.
    """
    below_one = ops.where(rate < 1.0, rate, ops.zeros_like(rate))
    return ops.cast(below_one * 2.0**31, "int32")


def _survives(word, rate):
    # Signed words: the lowest is -2**31, which is 2 * -2**30.
    keep = word >= (_threshold(rate) - 2**30) * 2
    # Not `rate < 1`: a rate that is NaN keeps all, and so it shows. Nor `not
    # rate >= 1`, which TensorFlow replaces by it in a graph.
    return ops.logical_and(keep, ops.cast(rate >= 1.0, "int32") < 1)


_fused_keep = _backend.fused(_keep)


def _block_keep(
    inputs,
    key,
    index,
    rows,
    set_size,
    num_samples,
    probability,
    block_size,
    first_axis,
):
    sizes = list(ops.shape(inputs))
    for axis, block in enumerate(block_size, first_axis):
        sizes[axis] = sizes[axis] - (block - 1)  # blocks lie inside
    draw = Draw(key, index, rows, set_size, num_samples)
    word = words(draw, tuple(sizes))
    dropped = ops.logical_not(_survives(word, probability))
    for axis, block in enumerate(block_size, first_axis):
        dropped = _extended(dropped, axis, block)
    return ops.logical_not(dropped)


def _extended(begins, axis, length):
    """Makes each True a run of `length`, the array `length - 1` longer.

    By doubling: about log2(length) passes over memory, where pooling looks at
    `length` elements for each.
    """
    one = (*(slice(None),) * axis, slice(0, 1))
    reach = 1
    while reach < length:
        by = min(reach, length - reach)
        # Not `ops.pad`, which numbers its calls: torch.compile would compile
        # each of them anew.
        edge = ops.repeat(ops.zeros_like(begins[one]), by, axis=axis)
        begins = ops.logical_or(
            ops.concatenate([begins, edge], axis=axis),
            ops.concatenate([edge, begins], axis=axis),
        )
        reach += by
    return begins


_fused_block_keep = _backend.fused(_block_keep)


def keep_mask(draw, rate, inputs, noise_shape=None):
    """Which units survive: True with probability `1 - rate`.

    Args:
        draw: A `Draw`.
        rate: float32 scalar tensor in [0, 1].
        inputs: Tensor whose shape the mask follows; axis 0 is the row.
        noise_shape: As in `keras.layers.Dropout`, or None.

    Returns:
        A bool tensor of the inputs' shape, or of `noise_shape` with each None
        replaced by the inputs' size.
    """
    draw = for_rows(draw, inputs)
    if draw.keep_all is True:
        return ops.ones(for_noise(inputs, draw, noise_shape)[1], "bool")
    rate = unless_all_is_kept(draw, rate, 0.0)
    return _fused_keep(inputs, *draw[:5], rate, noise_shape)


def block_keep_mask(draw, probability, inputs, block_size, first_axis):
    """Which units survive where blocks are dropped.

    Args:
        draw: A `Draw`.
        probability: float32 scalar tensor in [0, 1]: that a block begins at a
            place. Blocks lie inside the inputs, and may overlap.
        inputs: Tensor whose shape the mask has; axis 0 is the row.
        block_size: Tuple of integers, along successive axes.
        first_axis: The first of these axes.

    Returns:
        A bool tensor of the inputs' shape.
    """
    draw = for_rows(draw, inputs)
    if draw.keep_all is True:
        return ops.ones_like(inputs, "bool")
    probability = unless_all_is_kept(draw, probability, 0.0)
    return _fused_block_keep(
        inputs, *draw[:5], probability, block_size, first_axis
    )


def unless_all_is_kept(draw, value, kept):
    """`value`, but `kept` where the draw keeps all.

    To be asked of a scalar, such as the rate, wherever that is enough: then it
    costs nothing.
    """
    if draw.keep_all is None:
        return value
    value = ops.convert_to_tensor(value)
    if draw.keep_all is True:
        return ops.full_like(value, kept)
    return ops.where(draw.keep_all, ops.cast(kept, value.dtype), value)


def for_rows(draw, inputs):
    """The draw for the first axis of `inputs`.

    It is the draw itself where that axis is the batch. Where it is another,
    its entries are rows of their own, if the draw has a `batch`.

    Raises:
        ValueError: If the draw is for another number of rows than the inputs
            have, and has no `batch`.
    """
    if draw.rows is None or (not inputs.shape and draw.batch is None):
        return draw
    expected = draw.rows.shape[0]
    size = inputs.shape[0] if inputs.shape else 1
    if expected == size or None in (expected, size):
        return draw
    if draw.batch is None:
        raise ValueError(
            "A mask was asked for inputs whose first axis, of size "
            f"{size}, is not the batch, of {expected} rows: each row gets "
            "masks of its own, so it must be known which is which. Keep the "
            "batch as the first axis where units are dropped (reshape behind "
            f"the layer, not before it). Or: {refusals.ONE_BY_ONE} Received: "
            f"inputs of shape {tuple(inputs.shape)}"
        )
    # Rows 0 and 1 make the derived keys.
    rows = np.arange(2, 4, dtype="int32")
    key = row_keys(Draw(draw.key, draw.batch, rows), 2)
    return draw._replace(
        key=ops.reshape(key, (2, 2, 1)), index=draw.index[:1], rows=None
    )


def survivor_scale(rate, dtype):
    """`1 / (1 - rate)` in `dtype`; 0 at rate 1, where nothing survives.

    At rate 1 the division is by infinity: so the gradient is 0 as well, where
    the branch of a `where` that is not chosen would make it 0 * inf = NaN. A
    rate that is NaN (a schedule gone astray) shows: comparisons with it fail.
    """
    # float32 at least: in bfloat16 `1 - rate` is off by up to a quarter of a
    # percent before it is inverted.
    precise = "float64" if dtype == "float64" else "float32"
    kept = 1.0 - ops.cast(rate, precise)
    return ops.cast(1.0 / ops.where(kept <= 0.0, np.inf, kept), dtype)
