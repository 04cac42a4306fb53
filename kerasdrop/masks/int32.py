"""Arithmetic of 32-bit words, in a form that exported graphs preserve.

An exporter may refuse a shift, or write one that the runtime computes in
another way: TensorFlow Lite has no `and` of integers, and OpenVINO misreads the
shifts of a PyTorch graph. So there are two forms with the same bits: the fast
one with shifts and masks, and one with a division.

A compiler may treat sums and products of int32 that overflow as undefined
(`_backend.overflows`). In that case, words whose range it could know, such as
row numbers and everything computed from them, are held in int64, where nothing
overflows: from `widened` to `narrowed`, with `wrapped` after each sum or
product. The words of the elements stay int32, which is fastest: they begin as
hashes that are read from memory or come from `narrowed`, whose range is
unknown, and the words that are compared in the end come from an xor, not from a
sum.
"""

from kerasdrop import _backend
from kerasdrop._backend import ops
from kerasdrop._types import Tensor

# For smaller shifts the quotient of a float32 division is off by more than one,
# since it keeps 24 of 31 bits, and some runtimes divide integers in this way.
_LEAST_SAFE_SHIFT = 8

LOWEST = -(2**31)
HIGHEST = 2**31 - 1
LOW = 0xFFFFFFFF


def signed(word: int) -> int:
    """The int32 with the same bits as an unsigned 32-bit word."""
    word &= LOW
    return word - 2**32 if word >= 2**31 else word


def widened(word: Tensor) -> Tensor:
    """Returns an int32 tensor, in int64 if sums of int32 must not wrap."""
    return ops.cast(word, "int64") if _backend.overflows() else word


def wrapped(word: Tensor) -> Tensor:
    """The lowest 32 bits of a sum or product of `widened` tensors."""
    if _backend.overflows():
        word = _backend.bitwise_and(word, 2**32 - 1)
    return word


def narrowed(word: Tensor) -> Tensor:
    """Returns a `wrapped` tensor as int32, with the same bits."""
    if _backend.overflows():
        return ops.cast((word ^ 2**31) - 2**31, "int32")
    return word


def shifted(word: Tensor, by: int) -> Tensor:
    """Logical right shift of a word by 1 to 31 places.

    Args:
        word: An int32 tensor, or one that is `wrapped`.
        by: Integer.
    """
    if _backend.divides():
        return _shifted_by_division(word, by)
    # An arithmetic shift; then the copied sign bits are masked off.
    word = _backend.right_shift(word, by)
    return _backend.bitwise_and(word, (1 << (32 - by)) - 1)


def signed_shifted(word: Tensor, by: int) -> Tensor:
    """Arithmetic right shift of an int32 tensor by 1 to 31 places."""
    if _backend.divides():
        # Flipping the sign bit adds 2**31 to the number that is shifted.
        return shifted(word ^ -(2**31), by) - (1 << (31 - by))
    return _backend.right_shift(word, by)


def low_bits(word: Tensor, count: int) -> Tensor:
    """The lowest 1 to 30 bits of an int32 tensor, in place on PyTorch."""
    if _backend.divides():
        return word - shifted(word, count) * (1 << count)
    return _backend.bitwise_and(word, (1 << count) - 1)


def _shifted_by_division(word: Tensor, by: int) -> Tensor:
    if by == 31:
        return ops.cast(word < 0, "int32")
    if by < _LEAST_SAFE_SHIFT:
        high = _shifted_by_division(word, 16)
        low = word - high * (1 << 16)
        return high * (1 << (16 - by)) + ops.floor_divide(low, 1 << by)
    divisor = 1 << by
    quotient = ops.floor_divide(word, divisor)
    # The runtime may floor, truncate or round: the error is at most one.
    rest = word - quotient * divisor
    quotient = quotient - ops.cast(rest < 0, "int32")
    quotient = quotient + ops.cast(rest >= divisor, "int32")
    # A negative number is its word minus 2**32.
    return quotient + ops.cast(word < 0, "int32") * (1 << (32 - by))
