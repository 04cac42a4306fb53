"""Makes keys from seeds, on the host or from a tensor."""

from typing import overload

import numpy as np
from keras import ops

from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.masks import int32

_THREEFRY_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_THREEFRY_ROUNDS = 20
_THREEFRY_PARITY = 0x1BD11BDA


def threefry_2x32(key: Tensor, counter: Given) -> tuple[Tensor, Tensor]:
    """Threefry-2x32-20 on Python integers, or on int64 arrays of them.

    Args:
        key, counter: Pairs of integers in [0, 2**32).

    Returns:
        A pair of integers in [0, 2**32).

    Reference: Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy
    as 1, 2, 3", SC 2011, section 3.3.
    """
    schedule = (*key, _THREEFRY_PARITY ^ key[0] ^ key[1])
    first = (counter[0] + schedule[0]) & int32.LOW
    second = (counter[1] + schedule[1]) & int32.LOW
    for round_ in range(_THREEFRY_ROUNDS):
        by = _THREEFRY_ROTATIONS[round_ % 8]
        first = (first + second) & int32.LOW
        second = ((second << by) | (second >> (32 - by))) & int32.LOW
        second ^= first
        if round_ % 4 == 3:
            injection = round_ // 4 + 1
            first = (first + schedule[injection % 3]) & int32.LOW
            second += schedule[(injection + 1) % 3] + injection
            second &= int32.LOW
    return first, second


def key_of_seed(seed: int) -> Array:
    """The key of a seed: an int32 array `(2, 2, 1)`.

    Args:
        seed: Any integer; its lowest 64 bits count. Or an int64 array
            `(seeds,)`, for keys `(seeds, 2, 2, 1)`.

    Example:

    >>> key_of_seed(0).shape, key_of_seed(0).dtype
    ((2, 2, 1), dtype('int32'))
    """
    pair = (seed & int32.LOW, (seed >> 32) & int32.LOW)
    words = [
        word for block in (0, 1) for word in threefry_2x32(pair, (block, 0))
    ]
    words = np.array(words, "uint32").view("int32").T
    return words.reshape(*np.shape(seed), 2, 2, 1)


def key_of_seed_tensor(seed: Tensor) -> Tensor:
    """`key_of_seed` for a tensor.

    Args:
        seed: int32 scalar tensor.

    Returns:
        An int32 tensor `(2, 2, 1)`.

    Example:

    >>> key = key_of_seed_tensor(keras.ops.convert_to_tensor(7, "int32"))
    >>> bool(keras.ops.all(key == key_of_seed(7)))
    True
    """
    seed = int32.wrapped(int32.widened(seed))
    high = int32.wrapped(-int32.shifted(seed, 31))
    schedule = (seed, high, seed ^ high ^ _THREEFRY_PARITY)
    # Both blocks are computed at once.
    first = ops.convert_to_tensor(np.arange(2, dtype="int32")) + schedule[0]
    second = ops.convert_to_tensor(np.zeros(2, "int32")) + schedule[1]
    for round_ in range(_THREEFRY_ROUNDS):
        by = _THREEFRY_ROTATIONS[round_ % 8]
        first = int32.wrapped(first + second)
        # The two parts of a rotation share no bit.
        rotated = second * (1 << by) + int32.shifted(second, 32 - by)
        second = int32.wrapped(rotated) ^ first
        if round_ % 4 == 3:
            injection = round_ // 4 + 1
            first = int32.wrapped(first + schedule[injection % 3])
            second = second + schedule[(injection + 1) % 3] + injection
            second = int32.wrapped(second)
    pair = int32.narrowed(ops.stack([first, second], axis=1))
    return ops.reshape(pair, (2, 2, 1))


@overload
def derived_seed(seed: int, index: int) -> int: ...


@overload
def derived_seed(seed: None, index: int) -> None: ...


def derived_seed(seed: Seed, index: int) -> Seed:
    """The seed of child number `index` of a seed; None if the seed is None.

    Its key is unrelated to the keys of `seed` and of other children.

    Example:

    >>> derived_seed(0, 1) == derived_seed(0, 2), derived_seed(None, 1)
    (False, None)
    """
    if seed is None:
        return None
    low, high = threefry_2x32(
        (seed & int32.LOW, (seed >> 32) & int32.LOW), (index, 1)
    )
    return low + (high << 32)
