"""Samples of a pool of rows, read a part at a time."""

import numpy as np
from keras import ops

from kerasdrop._formulas import arrays
from kerasdrop._formulas import categorical
from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop.predictive import Predictive

# The bytes of the float64 copy of a block of rows. A formula needs a few
# copies.
_BLOCK = 2**24


def of_array(samples: ArrayLike) -> Array:
    """A list or a tensor as a NumPy array; an array on disk stays there."""
    if arrays.is_tensor(samples):
        return ops.convert_to_numpy(samples)
    samples = arrays.unmasked(samples)
    if hasattr(samples, "shape") and hasattr(samples, "__getitem__"):
        return samples
    return np.asarray(samples, "float64")


def joint(samples: Given, name: str = "samples") -> Array:
    """Joint samples as an array, or a refusal.

    Args:
        samples: Probabilities `(rows, samples, classes)`, no size 0; or a
            `Predictive` with such samples, whose plan shows whether they are
            joint.
        name: The name of the argument.
    """
    if isinstance(samples, Predictive):
        if samples.plan != "shared":
            raise Refusal(
                f"argument `{name}` must have joint samples, in which sample "
                "t of all rows comes from the same network, as those of "
                '`mc_predict(..., plan="shared", keep_samples=True)` do. '
                f"Received: a prediction with plan={samples.plan!r}"
            )
        if "samples" not in samples:
            raise Refusal(
                f"argument `{name}` must have the samples themselves: "
                "`mc_predict(..., keep_samples=True)`. Received: a prediction "
                f"with {', '.join(samples)}"
            )
        samples = samples.samples
    samples = of_array(samples)
    shape = tuple(samples.shape)
    if len(shape) != 3 or 0 in shape:
        raise Refusal(
            f"argument `{name}` must have joint samples of "
            "probabilities, `(rows, samples, classes)`. For probabilities of "
            "the positive class, add a last axis: `samples[..., None]`. "
            f"Received: {name} of shape {shape}"
        )
    return samples


def blocks(samples: ArrayLike) -> list[slice]:
    """Slices of rows, each of about `_BLOCK` bytes as float64."""
    rows = samples.shape[0]
    of_row = 8 * max(1, int(np.prod(samples.shape[1:])))
    size = max(1, _BLOCK // of_row)
    return [
        slice(start, min(start + size, rows)) for start in range(0, rows, size)
    ]


def by_rows(function: Function, samples: ArrayLike) -> Array:
    """`function` of samples; arrays are passed a block of rows at a time."""
    if arrays.is_tensor(samples):
        return function(samples)
    samples = of_array(samples)
    if not len(samples.shape) or not samples.shape[0]:
        return function(np.asarray(samples))  # which says what is wrong
    return np.concatenate(
        [function(np.asarray(samples[rows])) for rows in blocks(samples)]
    )


def rows_of(samples: ArrayLike, rows: ArrayLike) -> Array:
    """Checked probabilities `(rows, samples, classes)` of some rows.

    Args:
        samples: As `of_array` returns it.
        rows: Integers, in any order.
    """
    if isinstance(samples, np.ndarray):
        chosen = samples[rows]
    else:  # it need not take more than slices
        chosen = np.concatenate([samples[row : row + 1] for row in rows])
    return categorical.checked(np.asarray(chosen))[1]
