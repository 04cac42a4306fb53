"""Arithmetic of 32-bit words, in a form that the graph's reader keeps.

An exporter may refuse a shift, or write one that the runtime then computes
otherwise: TensorFlow Lite has no `and` of integers, and OpenVINO takes the
shifts of a PyTorch graph for others. So there are two forms with the same
bits: with shifts and masks, which is the fast one, and with a division.

A compiler may take sums and products of int32 that overflow for undefined
(`_backend.overflows`). There words whose range it could know, such as row
numbers and all that is made of them, are held in int64, where nothing
overflows: from `widened` to `narrowed`, with `wrapped` after each sum or
product. The words of the elements stay int32, which is as fast as can be: they
begin as hashes that are read from memory or end a `narrowed`, of which no range
is known, and what is compared in the end is made by xor, not by a sum.
"""

from kerasdrop import _backend
from kerasdrop._backend import ops
from kerasdrop._types import Tensor

# Below, the quotient of a float32 division is off by more than one: that keeps
# 24 bits of 31, and some runtimes divide integers so.
_LEAST_SAFE_SHIFT = 8

LOWEST = -(2**31)
HIGHEST = 2**31 - 1
LOW = 0xFFFFFFFF


def signed(word: int) -> int:
    """The int32 with the same bits as an unsigned 32-bit word."""
    word &= LOW
    return word - 2**32 if word >= 2**31 else word


def widened(word: Tensor) -> Tensor:
    """An int32 tensor as it is; in int64 where sums of int32 must not wrap."""
    return ops.cast(word, "int64") if _backend.overflows() else word


def wrapped(word: Tensor) -> Tensor:
    """A sum or product of what was `widened`: its lowest 32 bits."""
    if _backend.overflows():
        word &= 2**32 - 1
    return word


def narrowed(word: Tensor) -> Tensor:
    """What was `wrapped`, as an int32 tensor of the same bits."""
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
    # Arithmetic, then the copied sign bits masked off.
    word = _backend.right_shift(word, by)
    word &= (1 << (32 - by)) - 1
    return word


def signed_shifted(word: Tensor, by: int) -> Tensor:
    """Arithmetic right shift of an int32 tensor by 1 to 31 places."""
    if _backend.divides():
        # Flipping the sign bit adds 2**31 to the number that is shifted.
        return shifted(word ^ -(2**31), by) - (1 << (31 - by))
    return _backend.right_shift(word, by)


def low_bits(word: Tensor, count: int) -> Tensor:
    """The lowest 1 to 30 bits of an int32 tensor, overwritten on PyTorch."""
    if _backend.divides():
        return word - shifted(word, count) * (1 << count)
    word &= (1 << count) - 1
    return word


def _shifted_by_division(word: Tensor, by: int) -> Tensor:
    if by == 31:
        return ops.cast(word < 0, "int32")
    if by < _LEAST_SAFE_SHIFT:
        high = _shifted_by_division(word, 16)
        low = word - high * (1 << 16)
        return high * (1 << (16 - by)) + ops.floor_divide(low, 1 << by)
    divisor = 1 << by
    quotient = ops.floor_divide(word, divisor)
    # Floored, truncated or rounded on the way: one to either side at most.
    rest = word - quotient * divisor
    quotient = quotient - ops.cast(rest < 0, "int32")
    quotient = quotient + ops.cast(rest >= divisor, "int32")
    # A negative number is its word less 2**32.
    return quotient + ops.cast(word < 0, "int32") * (1 << (32 - by))
