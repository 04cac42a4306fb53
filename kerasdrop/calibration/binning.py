"""Confidence against accuracy, in bins of confidence."""

from typing import NamedTuple

from kerasdrop import _arrays
from kerasdrop import _checks
from kerasdrop import _classes
from kerasdrop.calibration import inputs


class Reliability(NamedTuple):
    """What was promised and what came true, bin by bin.

    Attributes:
        weight: `(bins,)`, the sum of the weights of the rows in each bin;
            without weights their number.
        predicted: `(bins,)`, the mean confidence; NaN in an empty bin.
        observed: `(bins,)`, the part that was right; NaN in an empty bin.
    """

    weight: object
    predicted: object
    observed: object


def expected_calibration_error(
    targets, probabilities, num_bins=15, sample_weight=None
):
    """Mean distance of confidence and accuracy over bins of equal width (ECE).

    Of the most probable class alone. It depends on the number of bins, and is
    too high by chance where a bin has few rows.

    Args:
        targets: Integers `(rows, ...)`, or one-hot `(rows, ..., classes)`.
        probabilities: `(rows, ..., classes)`.
        num_bins: Integer, bins of equal width from 0 to 1, each with its
            upper edge.
        sample_weight: `(rows,)`, or None.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: If the arrays do not hold probabilities and classes.

    Reference: [Guo et al., 2017](https://arxiv.org/abs/1706.04599), equation
    3.
    """
    owner = "expected_calibration_error"
    sums = bin_sums(targets, probabilities, num_bins, sample_weight, owner)
    return error_of(sums, owner)


def adaptive_calibration_error(
    targets, probabilities, num_bins=15, sample_weight=None
):
    """As `expected_calibration_error`, over bins of equally many rows (ACE).

    Of rows with the same confidence at the edge of two bins, the earlier ones
    are in the lower. Nguyen & O'Connor (2015) proposed such bins; the error
    that Nixon et al. (2019) call adaptive is besides a mean over classes.

    Args:
        targets, probabilities, sample_weight: As there.
        num_bins: Integer, not above the number of rows.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: If the arrays do not hold probabilities and classes; if
            there are fewer rows than bins.
    """
    owner = "adaptive_calibration_error"
    sums = bin_sums(
        targets, probabilities, num_bins, sample_weight, owner, "rows"
    )
    return error_of(sums, owner)


def reliability(
    targets, probabilities, num_bins=15, binning="width", sample_weight=None
):
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
    """
    owner = "reliability"
    _checks.choice(binning, ("width", "rows"), owner, "binning")
    sums = bin_sums(
        targets, probabilities, num_bins, sample_weight, owner, binning
    )
    return reliability_of(sums)


def bin_sums(
    targets, probabilities, num_bins, sample_weight, owner, binning="width"
):
    """Sums `(3, bins)` over the rows: weight, confidence, correctness.

    The sums of two batches add up to those of both, bins of equal width given.
    """
    _checks.positive_integer(num_bins, owner, "num_bins")
    xp, p, one_hot = inputs.labelled(targets, probabilities, owner)
    confidence = xp.max(p, axis=-1)
    correct = xp.sum(_classes.first_largest(p) * one_hot, axis=-1)
    weight = _arrays.weight_like(xp, sample_weight, confidence, owner)
    weight, confidence, correct = (
        xp.reshape(each, (-1,)) for each in (weight, confidence, correct)
    )
    number = (_by_width if binning == "width" else _by_rows)(
        xp, confidence, num_bins, owner
    )
    numbers = xp.arange(num_bins)
    in_bin = xp.expand_dims(number, -1) == _arrays.like(xp, numbers, number)
    values = xp.stack([weight, weight * confidence, weight * correct])
    return xp.matmul(values, _arrays.like(xp, in_bin, values))


def _by_width(xp, confidence, num_bins, owner):
    # Rounding can take a confidence above 1.
    return xp.minimum(xp.ceil(confidence * num_bins) - 1.0, num_bins - 1.0)


def _by_rows(xp, confidence, num_bins, owner):
    rows = confidence.shape[0]
    if rows is None or rows < num_bins:
        raise ValueError(
            f"{owner}: argument `num_bins` must not be above the number of "
            f"rows. Received: num_bins={num_bins} for {rows} rows"
        )
    rank = _arrays.order(xp, _arrays.order(xp, confidence))
    return rank * num_bins // rows


def error_of(sums, owner):
    """The calibration error of `bin_sums`."""
    xp, sums = _arrays.floats(sums)
    total = xp.sum(xp.abs(sums[1] - sums[2]))
    return _arrays.weighted(xp, total, xp.sum(sums[0]), owner)


def reliability_of(sums):
    """The `Reliability` of `bin_sums`."""
    xp, sums = _arrays.floats(sums)
    weight = xp.where(sums[0] > 0.0, sums[0], float("nan"))
    return Reliability(sums[0], sums[1] / weight, sums[2] / weight)
