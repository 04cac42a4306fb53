"""Computes masks with Python integers; has answers that never change.

The code follows the definition in the docstring of `kerasdrop.masks`, one
element at a time, without tensors and without importing the package. A trained
model continues its masks from a checkpoint, and published results name a seed,
so changing any number here breaks users.
"""

import math

import numpy as np

LOW_32 = 2**32 - 1


def threefry(key, counter):
    """Threefry-2x32-20: Salmon et al. 2011, section 3.3 and table 2."""
    rotations = (13, 15, 26, 6, 17, 29, 16, 24)
    schedule = (key[0], key[1], 0x1BD11BDA ^ key[0] ^ key[1])
    x0 = (counter[0] + key[0]) & LOW_32
    x1 = (counter[1] + key[1]) & LOW_32
    for number in range(1, 21):
        rotation = rotations[(number - 1) % 8]
        x0 = (x0 + x1) & LOW_32
        x1 = ((x1 << rotation) & LOW_32) | (x1 >> (32 - rotation))
        x1 ^= x0
        if number % 4 == 0:
            group = number // 4
            x0 = (x0 + schedule[group % 3]) & LOW_32
            x1 = (x1 + schedule[(group + 1) % 3] + group) & LOW_32
    return x0, x1


def triple32(word, added, xored):
    """Wellons' triple32, with a key added before and xored in after round 1."""
    word = (word + added) & LOW_32
    word ^= word >> 17
    word = (word * 0xED5AD4BB) & LOW_32
    word ^= xored
    word ^= word >> 11
    word = (word * 0xAC4C1B51) & LOW_32
    word ^= word >> 15
    word = (word * 0x31848BAB) & LOW_32
    return word ^ (word >> 14)


def lowbias32(word, xored):
    """Wellons' lowbias32, with a key xored in after round 1."""
    word ^= word >> 16
    word = (word * 0x7FEB352D) & LOW_32
    word ^= xored
    word ^= word >> 15
    word = (word * 0x846CA68B) & LOW_32
    return word ^ (word >> 16)


def key_of_seed(seed):
    """Two pairs of words: those that are added, and those that are xored."""
    seed &= 2**64 - 1
    pair = (seed & LOW_32, seed >> 32)
    return threefry(pair, (0, 0)), threefry(pair, (1, 0))


def row_keys(key, index, row):
    first = triple32(row + 0x9E3779B2 * index, key[0][0], key[1][0])
    second = triple32(0x85EBCA6B * row + index, key[0][1], key[1][1])
    return first, second


def derived_key(key, index):
    """The first keys and the second keys of rows 0 and 1 of draw `index`."""
    rows = [row_keys(key, index, row) for row in (0, 1)]
    return (rows[0][0], rows[1][0]), (rows[0][1], rows[1][1])


def word(key, index, row, unit):
    """The word of one element, in [0, 2**32)."""
    first, second = row_keys(key, index, row)
    unit_key = triple32(unit, 0x243F6A88, 0x85A308D3)
    return lowbias32((first + unit_key) & LOW_32, second)


def stratified_word(key, index, row, unit, size):
    """The same if each `size` successive indices are a set."""
    choice = word(key, (index // size) | 2**31, row, unit)
    start, factor, shift = (choice // size**digit % size for digit in range(3))
    place = (index + start) % size + 1
    stratum = (place * (factor + 1) % (size + 1) - 1 + shift) % size
    return (stratum * 2**32 + choice) // size ^ 2**31


def signed(unsigned):
    """The int32 with the same bits."""
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


def kept(unsigned, rate):
    """Whether an element survives, as its int32 is not among the lowest."""
    return signed(unsigned) + 2**31 >= 2 * int(rate * 2**31)


def derived_seed(seed, index):
    """The seed of child number `index`."""
    seed &= 2**64 - 1
    low, high = threefry((seed & LOW_32, seed >> 32), (index, 1))
    return high << 32 | low


def words(seed, index, shape):
    """The words of a mask `(rows, ...)`, as an int64 array of int32."""
    return words_of_key(key_of_seed(seed), index, shape)


def words_of_key(key, index, shape):
    """The same for the key of a seed."""
    num_units = math.prod(shape[1:])
    found = [
        signed(word(key, index, row, unit))
        for row in range(shape[0])
        for unit in range(num_units)
    ]
    return np.array(found, "int64").reshape(shape)


def kept_array(words, rate):
    """Which of an array of `words` survive."""
    return np.vectorize(lambda one: kept(one, rate), otypes=[bool])(words)


# (seed, index, row, unit): word, as int32.
WORDS = {
    (0, 0, 0, 0): 1824868559,
    (0, 0, 0, 1): 696747383,
    (0, 0, 1, 0): 1073527479,
    (0, 1, 0, 0): 890188555,
    (1, 0, 0, 0): 1467259934,
    (-1, 7, 3, 5): -949113279,
    (2**32, -(2**31), 0, 2**16 + 1): -1098566073,
    (2**63 - 1, 2**31 - 1, 4095, 1023): 335848257,
    (12345, 1_000_000, 2**24, 70_000): -257783036,
}

# The keep mask of seed 2024, index 3, rate 0.3, shape (4, 16), a string for
# each row.
KEEP_MASK = (
    "xxxxxxxxxxxx.xxx",
    "xx.xxxxx.xxxx...",
    "xxx.xx..xx.x.xxx",
    "xxxxxxxxxx..xx.x",
)
