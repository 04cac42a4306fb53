"""The inputs of a mask, and the key words of its rows and units."""

import functools
from typing import NamedTuple

import numpy as np

from kerasdrop import _backend
from kerasdrop import _refusals
from kerasdrop._backend import ops
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.masks import int32
from kerasdrop.masks import rows as row_numbers

# Odd multipliers and shifts of published bijective 32-bit hashes with low bias
# (C. Wellons, "triple32" and "lowbias32", public domain).
_HASH_ROUNDS = (
    (17, int32.signed(0xED5AD4BB)),
    (11, int32.signed(0xAC4C1B51)),
    (15, int32.signed(0x31848BAB)),
)

_HASH_LAST_SHIFT = 14

# (index, row) -> (row + A index, B row + index) loses nothing: A is even, so
# the determinant 1 - A B is odd and the map is one to one modulo 2**32.
_INDEX_FACTOR = int32.signed(0x9E3779B2)

_ROW_FACTOR = int32.signed(0x85EBCA6B)

# Unit keys are the same for all layers. These numbers are digits of pi.
_UNIT_KEY = (int32.signed(0x243F6A88), int32.signed(0x85A308D3))

# Larger rows have their unit keys computed in the graph, not stored in it.
_LARGEST_STORED_ROW = 2**16

_ROWS_PER_REPLICA = 2**24

# For more rows PyTorch's threads are faster than NumPy.
_MOST_ROWS_AT_HAND = 2**12


class Draw(NamedTuple):
    """What a mask depends on, besides its shape.

    Attributes:
        key: int32 tensor or array `(2, 2, 1)`, from `key_of_seed` or
            `derived_key`.
        index: int32, scalar or `(rows,)`: the number of the draw.
        rows: int32 `(rows,)`: the position of each row in the data; None for
            `0, 1, 2, ...`, the position in the batch.
        set_size: 4, 16 or 256, each one less than a prime, for stratified words
            in sets of that many successive indices; None for independent words.
        num_samples: Integer. This many successive rows of a tensor belong
            together: they have the same `rows` and successive indices, of
            which the first begins a set.
        batch: None, or int32 `(1,)`, a number of the whole batch. With it, a
            tensor whose first axis is not `rows` is accepted: its rows are
            numbered by position, and its masks are specific to this batch.
            Without it, such a tensor is refused.
        keep_all: None, True, or a bool scalar tensor: whether nothing is
            dropped and no noise is added, so that each layer has the same
            output as at inference.

    Example:

    >>> draw = Draw(kerasdrop.masks.key_of_seed(0), index=0)
    >>> rows = np.zeros((2, 4), "float32")
    >>> keep = kerasdrop.masks.keep_mask(draw, 0.5, rows)
    >>> keep.shape == rows.shape
    True
    """

    key: Tensor
    # Users know it by this name, and nobody needs `tuple.index` here.
    index: Tensor
    rows: Tensor | None = None
    set_size: int | None = None
    num_samples: int = 1
    batch: Tensor | None = None
    keep_all: Tensor | None = None


def derived_key(key: Tensor, index: Tensor) -> Tensor:
    """The key of child number `index` of a key.

    Args:
        key: int32 tensor or array `(2, 2, 1)`.
        index: Integer, or an int32 scalar tensor.

    Returns:
        An int32 tensor `(2, 2, 1)`.

    Example:

    >>> derived_key(key_of_seed(0), 1).shape == (2, 2, 1)
    True
    """
    pair = row_keys(Draw(key, index, np.arange(2, dtype="int32")), 2)
    return ops.reshape(pair, (2, 2, 1))


def derived_keys(key: Tensor, indices: list[int]) -> list[Tensor]:
    """`derived_key` of each of a list of integers, in as few operations.

    Args:
        key: int32 tensor or array `(2, 2, 1)`.
        indices: List of integers.

    Returns:
        A list of int32 tensors `(2, 2, 1)`.

    Example:

    >>> first, second = derived_keys(key_of_seed(0), [0, 1])
    >>> bool(keras.ops.all(second == derived_key(key_of_seed(0), 1)))
    True
    """
    count = len(indices)
    if count == 0:
        return []
    index = np.repeat(np.array(indices, "int32"), 2)
    rows = np.tile(np.arange(2, dtype="int32"), count)
    pairs = row_keys(Draw(key, index, rows), 2 * count)
    pairs = ops.reshape(pairs, (2, count, 2, 1))
    return [pairs[:, number] for number in range(count)]


def _hash(word: Tensor, first_key: Tensor, second_key: Tensor) -> Tensor:
    """Three rounds of xorshift and multiply, keyed before and after the first.

    PyTorch changes `word` in place, by augmented assignments and methods; the
    other backends make a new tensor as usual. The argument is `int32.widened`,
    the result is int32.
    """
    word = int32.wrapped(word + first_key)
    for round_, (shift, factor) in enumerate(_HASH_ROUNDS):
        word = _backend.bitwise_xor(word, int32.shifted(word, shift))
        word *= factor
        if round_ == 0:
            word = _backend.bitwise_xor(word, second_key)
        word = int32.wrapped(word)
    word = _backend.bitwise_xor(word, int32.shifted(word, _HASH_LAST_SHIFT))
    return int32.narrowed(word)


def rows_of_batch(inputs: Tensor) -> Tensor | None:
    """The `Draw.rows` of a batch; None unless it is a part of a larger batch.

    A `row_scope` says which part. Without one, each replica numbers its rows in
    another range, so that replicas do not repeat each other's masks, whatever
    their seeds are, and even if all of them have the same key.

    Args:
        inputs: Tensor whose first axis is the batch.

    Returns:
        None, or an int32 tensor `(rows,)`.

    Example:

    >>> rows_of_batch(x) is None  # row i is number i
    True
    >>> with row_scope(first_row=100):
    ...     rows = keras.ops.convert_to_numpy(rows_of_batch(x[:3]))
    >>> rows
    array([100, 101, 102], dtype=int32)
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
        first_row = int32.signed(first_row)
    return ops.arange(ops.shape(inputs)[0], dtype="int32") + first_row


def row_keys(draw: Draw, num_rows: Tensor) -> Tensor:
    """Two key words for each row.

    Args:
        draw: A `Draw`.
        num_rows: Integer, or an int32 scalar tensor.

    Returns:
        An int32 tensor `(2, num_rows)`.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0)
    >>> row_keys(draw, 3).shape == (2, 3)
    True
    """
    known = _backend.at_hand(draw.key, draw.index, draw.rows)
    if known is not None and num_rows <= _MOST_ROWS_AT_HAND:
        key, index, rows = known
        keys = row_keys_of_arrays(key, index, rows, num_rows)
        return ops.convert_to_tensor(keys)
    if draw.rows is None:
        rows = ops.arange(num_rows, dtype="int32")
    else:
        rows = ops.convert_to_tensor(draw.rows)
    key = ops.convert_to_tensor(draw.key)
    rows = int32.widened(rows)
    index = int32.widened(ops.convert_to_tensor(draw.index))
    pair = ops.stack([rows + index * _INDEX_FACTOR, rows * _ROW_FACTOR + index])
    return _hash(pair, key[0], key[1])


def row_keys_of_arrays(
    key: Array, index: Array, rows: Array, num_rows: int
) -> Array:
    """`row_keys` as an array.

    Args:
        key: int32 array `(2, 2, 1)`, or of more axes behind two.
        index: Integer array, scalar or of axes that `rows` is broadcast to.
        rows: int32 array; its dtype is `object` if there are none.
        num_rows: Integer.
    """
    if rows.dtype == object:
        rows = np.arange(num_rows, dtype="int32")
    index = index.astype("int32", copy=False)
    with np.errstate(over="ignore"):
        pair = [rows + index * _INDEX_FACTOR, rows * _ROW_FACTOR + index]
        return _hash(np.stack(pair), key[0], key[1])


def unit_keys(num_units: Tensor, like: Tensor) -> Tensor:
    """One key word for each unit of a row.

    Args:
        num_units: Integer, or an int32 scalar tensor.
        like: A tensor on the device of the result.

    Returns:
        An int32 tensor `(num_units,)`.

    Example:

    >>> unit_keys(5, like=keras.ops.ones(1)).shape == (5,)
    True
    """
    if isinstance(num_units, int) and num_units <= _LARGEST_STORED_ROW:
        return _unit_key_table(num_units, like)
    return keys_of_units(ops.arange(num_units, dtype="int32"))


def keys_of_units(units: Tensor) -> Tensor:
    """`unit_keys` for units by number, an int32 tensor of any shape."""
    return _hash(int32.widened(units), *_UNIT_KEY)


@functools.lru_cache(maxsize=64)
def stored_unit_keys(num_units: int) -> Array:
    """`unit_keys` as an array, not to be written to."""
    with np.errstate(over="ignore"):
        word = np.arange(num_units, dtype="uint32")
        word = word + np.uint32(_UNIT_KEY[0] & int32.LOW)
        for round_, (shift, factor) in enumerate(_HASH_ROUNDS):
            word ^= word >> np.uint32(shift)
            word *= np.uint32(factor & int32.LOW)
            if round_ == 0:
                word ^= np.uint32(_UNIT_KEY[1] & int32.LOW)
        word ^= word >> np.uint32(_HASH_LAST_SHIFT)
    return word.view("int32")


_unit_key_table = _backend.table("unit_keys", stored_unit_keys)


def unless_all_is_kept(draw: Draw, value: Given, kept: Tensor) -> Tensor:
    """`value`, or `kept` if the draw keeps all units.

    Apply it to a scalar, such as the rate, where possible: it then costs
    nothing.

    Args:
        draw: A `Draw`.
        value: Number or tensor.
        kept: Number, the value if nothing is dropped.

    Returns:
        `value`, or a tensor of its shape and dtype.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0, keep_all=True)
    >>> float(unless_all_is_kept(draw, 0.5, kept=0.0))
    0.0
    """
    if draw.keep_all is None:
        return value
    value = ops.convert_to_tensor(value)
    if draw.keep_all is True:
        return _backend.full_like(value, kept)
    return ops.where(draw.keep_all, ops.cast(kept, value.dtype), value)


def for_rows(draw: Draw, inputs: Tensor) -> Draw:
    """The draw for the first axis of `inputs`.

    It is the draw itself if that axis is the batch. Otherwise the entries of
    the axis are rows of their own, if the draw has a `batch`.

    Args:
        draw: A `Draw`.
        inputs: Tensor.

    Returns:
        A `Draw`.

    Raises:
        ValueError: If the draw is for another number of rows than those of the
            inputs, and has no `batch`.

    Example:

    >>> draw = Draw(key_of_seed(0), index=0)
    >>> for_rows(draw, np.ones((2, 4))) is draw
    True
    """
    if draw.rows is None or (not inputs.shape and draw.batch is None):
        return draw
    expected = draw.rows.shape[0]
    size = inputs.shape[0] if inputs.shape else 1
    if expected == size or None in (expected, size):
        return draw
    if draw.batch is None:
        raise ValueError(
            "A mask was requested for inputs whose first axis, of size "
            f"{size}, is not the batch, of {expected} rows. Each row gets its "
            "own masks, so its number must be known. Keep the batch as the "
            "first axis where units are dropped (reshape behind the layer, not "
            f"before it). Or: {_refusals.ONE_BY_ONE} Received: "
            f"inputs of shape {tuple(inputs.shape)}"
        )
    # Rows 0 and 1 make the derived keys.
    rows = np.arange(2, 4, dtype="int32")
    key = row_keys(Draw(draw.key, draw.batch, rows), 2)
    return draw._replace(
        key=ops.reshape(key, (2, 2, 1)), index=draw.index[:1], rows=None
    )
