"""Which keys each query of an attention layer may attend to."""

from keras import ops

from kerasdrop._types import Given
from kerasdrop._types import Tensor


def kept_keys(keep: Tensor, allowed: Tensor | None, axes: Given) -> Tensor:
    """The keys that are kept; all allowed ones if none of them is.

    Args:
        keep: Boolean tensor of the shape of the scores.
        allowed: Tensor that says which keys may be attended to, with or
            without an axis of heads; None for all.
        axes: Integer or tuple of integers, the axes of keys in the scores.
    """
    axes = axes if isinstance(axes, tuple) else (axes,)
    if allowed is not None:
        allowed = _with_heads(allowed, len(keep.shape), len(axes))
        keep = ops.logical_and(keep, allowed)
    none_kept = ops.logical_not(ops.any(keep, axis=axes, keepdims=True))
    keep = ops.logical_or(keep, none_kept)
    return keep if allowed is None else ops.logical_and(keep, allowed)


def zero_without_keys(outputs: Tensor, allowed: Tensor) -> Tensor:
    """The output of a fused kernel, but 0 for each query without a key.

    Args:
        outputs: Float tensor `(rows, queries, heads, size)`.
        allowed: As for `kept_keys`.
    """
    allowed = _with_heads(allowed, 4, 1)
    has_key = ops.any(allowed, axis=-1, keepdims=True)
    has_key = ops.transpose(has_key, (0, 2, 1, 3))
    return ops.where(has_key, outputs, ops.zeros_like(outputs))


def _with_heads(allowed: Tensor, num_axes: int, num_key_axes: int) -> Tensor:
    """Adds an axis of heads if there is none, as Keras does."""
    allowed = ops.cast(allowed, "bool")
    while len(allowed.shape) < num_axes:
        allowed = ops.expand_dims(allowed, -2 * num_key_axes - 1)
    return allowed
