"""Confidence against accuracy, in bins of confidence."""

from typing import NamedTuple

import numpy as np
from keras import ops

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._formulas import categorical
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor
from kerasdrop.calibration import inputs


class Reliability(NamedTuple):
    """Predicted and observed frequencies, bin by bin.

    Attributes:
        weight: `(bins,)`, the sum of the weights of the rows in each bin;
            without weights, the number of rows.
        predicted: `(bins,)`, the mean confidence; NaN in an empty bin.
        observed: `(bins,)`, the fraction of rows whose prediction is right; NaN
            in an empty bin.

    Example:

    >>> curve = reliability(
    ...     [0, 0, 1], [[0.9, 0.1], [0.9, 0.1], [0.8, 0.2]], num_bins=2
    ... )
    >>> curve.weight
    array([0., 3.])
    """

    weight: Tensor
    predicted: Tensor
    observed: Tensor


@blame("expected_calibration_error")
def expected_calibration_error(
    targets: ArrayLike,
    probabilities: ArrayLike,
    num_bins: int = 15,
    sample_weight: ArrayLike | None = None,
) -> Tensor:
    """Mean distance of confidence and accuracy over bins of equal width (ECE).

    Only the most probable class counts. The value depends on the number of
    bins, and is too high by chance if a bin has few rows.

    Args:
        targets: Integers `(rows, ...)`, or one-hot `(rows, ..., classes)`.
        probabilities: `(rows, ..., classes)`.
        num_bins: Integer, bins of equal width from 0 to 1, each with its
            upper edge: `k / num_bins`, rounded to the dtype of the
            probabilities.
        sample_weight: `(rows,)`, or None.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: If the arrays do not hold probabilities and classes.

    Example:

    >>> p = [[0.75, 0.25]] * 4
    >>> float(expected_calibration_error([0, 0, 0, 1], p))  # right: 3 of 4
    0.0
    >>> float(expected_calibration_error([0, 0, 1, 1], p))  # right: 2 of 4
    0.25

    Reference: [Guo et al., 2017](https://arxiv.org/abs/1706.04599), equation
    3.
    """
    _checks.positive_integer(num_bins, "num_bins")
    sums = bin_sums(targets, probabilities, num_bins, sample_weight)
    return error_of(sums)


@blame("adaptive_calibration_error")
def adaptive_calibration_error(
    targets: ArrayLike,
    probabilities: ArrayLike,
    num_bins: int = 15,
    sample_weight: ArrayLike | None = None,
) -> Tensor:
    """`expected_calibration_error` over bins of equally many rows (ACE).

    If rows have the same confidence at the edge of two bins, the earlier rows
    are in the lower bin. Nguyen & O'Connor (2015) proposed such bins. The
    adaptive error of Nixon et al. (2019) is also a mean over classes.

    Args:
        targets, probabilities, sample_weight: As for
            `expected_calibration_error`.
        num_bins: Integer, not above the number of rows.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: If the arrays do not hold probabilities and classes; if
            there are fewer rows than bins.

    Example:

    >>> p = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]]
    >>> error = adaptive_calibration_error([0, 0, 0, 0], p, num_bins=2)
    >>> round(float(error), 6)  # all right, at a mean confidence of 0.75
    0.25
    """
    _checks.positive_integer(num_bins, "num_bins")
    sums = bin_sums(targets, probabilities, num_bins, sample_weight, "rows")
    return error_of(sums)


@blame("reliability")
def reliability(
    targets: ArrayLike,
    probabilities: ArrayLike,
    num_bins: int = 15,
    binning: str = "width",
    sample_weight: ArrayLike | None = None,
) -> Reliability:
    """Confidence and accuracy, bin by bin, for `kerasdrop.plots.reliability`.

    Args:
        targets: Integers `(rows, ...)`, or one-hot `(rows, ..., classes)`.
        probabilities: `(rows, ..., classes)`.
        num_bins: Integer.
        binning: `"width"`: bins of equal width from 0 to 1, each with its
            upper edge. `"rows"`: bins of equally many rows.
        sample_weight: `(rows,)`, or None.

    Returns:
        A `Reliability`.

    Raises:
        ValueError: If the arrays do not hold probabilities and classes.

    Example:

    >>> p = [[0.9, 0.1], [0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]
    >>> curve = reliability([0, 0, 1, 1], p, num_bins=2, binning="rows")
    >>> curve.predicted, curve.observed
    (array([0.7, 0.9]), array([0.5, 1. ]))
    """
    _checks.choice(binning, ("width", "rows"), "binning")
    _checks.positive_integer(num_bins, "num_bins")
    sums = bin_sums(targets, probabilities, num_bins, sample_weight, binning)
    return reliability_of(sums)


def bin_sums(
    targets: ArrayLike,
    probabilities: ArrayLike,
    num_bins: int,
    sample_weight: ArrayLike,
    binning: str = "width",
    precision: str | None = None,
) -> Tensor:
    """Sums `(3, bins)` over the rows: weight, confidence, correctness.

    For bins of equal width, the sums of two batches add up to those of both.

    Args:
        precision: Dtype in which the probabilities were computed; the edges are
            rounded to it. None for the dtype that they have.
    """
    xp, p, one_hot = inputs.labelled(targets, probabilities)
    confidence = xp.max(p, axis=-1)
    correct = xp.sum(categorical.first_largest(p) * one_hot, axis=-1)
    weight = arrays.weight_like(xp, sample_weight, confidence)
    if binning == "width":
        is_beyond = _is_beyond_edges(
            probabilities, p, num_bins, precision or _precision(probabilities)
        )
    else:
        flat = xp.reshape(confidence, (-1,))
        is_beyond = _is_beyond_ranks(xp, flat, num_bins)
    number = xp.sum(arrays.like(xp, is_beyond, weight), axis=-1)
    weight, confidence, correct, number = (
        xp.reshape(each, (-1,))
        for each in (weight, confidence, correct, number)
    )
    numbers = xp.arange(num_bins)
    in_bin = xp.expand_dims(number, -1) == arrays.like(xp, numbers, number)
    values = xp.stack([weight, weight * confidence, weight * correct])
    return xp.matmul(values, arrays.like(xp, in_bin, values))


def _precision(probabilities: ArrayLike) -> str:
    if arrays.is_tensor(probabilities):
        return arrays.dtype_name(probabilities)
    dtype = np.asarray(probabilities).dtype
    return dtype.name if dtype.kind == "f" else "float64"


def _is_beyond_edges(
    probabilities: ArrayLike, p: Tensor, num_bins: int, precision: str
) -> Tensor:
    """Which edges a confidence is above, `(rows, ..., bins - 1)`.

    It is compared with `k / bins`, rounded as the probabilities were. A product
    `confidence * bins` would be rounded once more, to either side of `k`. If
    only the probability of the positive class is given, it is itself compared
    with `1 - k / bins`, because `1 - p` is rounded.
    """
    edges = np.arange(1, num_bins) / num_bins
    others = np.arange(num_bins - 1, 0, -1) / num_bins
    xp, p = arrays.floats(p)
    edges, others = (
        _rounded(xp, each, precision, p) for each in (edges, others)
    )
    if np.shape(probabilities)[-1] != 1:
        return xp.max(p, axis=-1, keepdims=True) > edges
    of_one = p[..., 1:]
    return xp.where(of_one < 0.5, of_one < others, of_one > edges)


def _rounded(xp: Namespace, edges: Array, precision: str, p: Tensor) -> Tensor:
    if xp is np:
        return edges.astype(precision).astype(p.dtype)
    return ops.cast(ops.cast(ops.convert_to_tensor(edges), precision), p.dtype)


def _is_beyond_ranks(
    xp: Namespace, confidence: Tensor, num_bins: int
) -> Tensor:
    rows = confidence.shape[0]
    if rows is None or rows < num_bins:
        raise Refusal(
            f"argument `num_bins` must not be above the number of "
            f"rows. Received: num_bins={num_bins} for {rows} rows"
        )
    rank = arrays.order(xp, arrays.order(xp, confidence))
    first = [-(-number * rows // num_bins) for number in range(1, num_bins)]
    first = np.array(first, "int32")
    if xp is not np:
        first = ops.cast(ops.convert_to_tensor(first), rank.dtype)
    return xp.expand_dims(rank, -1) >= first


def error_of(sums: Tensor) -> Tensor:
    """The calibration error of `bin_sums`."""
    xp, sums = arrays.floats(sums)
    total = xp.sum(xp.abs(sums[1] - sums[2]))
    return arrays.weighted(xp, total, xp.sum(sums[0]))


def reliability_of(sums: Tensor) -> Reliability:
    """The `Reliability` of `bin_sums`."""
    xp, sums = arrays.floats(sums)
    weight = xp.where(sums[0] > 0.0, sums[0], float("nan"))
    return Reliability(sums[0], sums[1] / weight, sums[2] / weight)
