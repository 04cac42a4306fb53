"""Intervals that should contain a target with a given probability."""

import statistics

import numpy as np

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._formulas import target_shapes
from kerasdrop._refusals import blame
from kerasdrop._types import ArrayLike
from kerasdrop._types import Tensor
from kerasdrop.calibration import inputs
from kerasdrop.calibration.binning import Reliability


@blame("gaussian_interval")
def gaussian_interval(
    mean: Tensor, variance: Tensor, level: float = 0.9
) -> tuple[Tensor, Tensor]:
    """The central interval of a normal.

    Args:
        mean, variance: `(rows, ...)`, e.g. `result.mean` and
            `result.total_variance`.
        level: Float in (0, 1), the probability of the interval.

    Returns:
        `(lower, upper)`, each of shape `(rows, ...)`.

    Raises:
        ValueError: If a variance in an array is below 0; if `level` is out of
            its range.

    Example:

    >>> lower, upper = gaussian_interval(np.zeros(1), np.ones(1), level=0.95)
    >>> lower.round(3), upper.round(3)
    (array([-1.96]), array([1.96]))
    """
    _checks.between_0_and_1(level, "level")
    xp, mean, variance = arrays.floats(mean, variance)
    variance = target_shapes.like(variance, mean, "a variance for each mean")
    variance = arrays.checked_variance(xp, variance)
    z = statistics.NormalDist().inv_cdf(0.5 + 0.5 * level)
    half = z * xp.sqrt(variance)
    return mean - half, mean + half


@blame("interval_coverage")
def interval_coverage(
    targets: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    sample_weight: ArrayLike | None = None,
    reduction: str | None = "mean",
) -> Tensor:
    """The fraction of targets that lie in their interval, its ends included.

    If the intervals are right, it is close to their probability. It does not
    show how wide the intervals are; the proper score is `interval_score`.

    Args:
        targets: `(rows, ...)`.
        lower, upper: `(rows, ...)`, from `gaussian_interval`, or
            `result.quantiles[:, 0]` and `[:, -1]`.
        sample_weight: `(rows,)`, or None.
        reduction: `"mean"`, or None for 0 or 1 for each target.

    Returns:
        A number in [0, 1], or `(rows, ...)`.

    Raises:
        ValueError: If a lower end in an array is above the upper one, or a
            target is NaN; if the shapes do not agree.

    Example:

    >>> lower, upper = [-1.0] * 4, [2.0] * 4
    >>> float(interval_coverage([0.0, 1.0, 9.0, 2.0], lower, upper))
    0.75
    """
    xp, targets, lower, upper = inputs.interval(targets, lower, upper)
    inside = (lower <= targets) & (targets <= upper)
    each = arrays.like(xp, inside, targets)
    # In a tensor, NaN lies in no interval and would count as missed.
    legal = (lower <= upper) & (targets == targets)
    each = xp.where(legal, each, float("nan"))
    return inputs.reduced(xp, each, sample_weight, reduction)


@blame("interval_score")
def interval_score(
    targets: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    level: float,
    sample_weight: ArrayLike | None = None,
    reduction: str | None = "mean",
) -> Tensor:
    """Width of an interval, plus `2 / (1 - level)` times the distance missed.

    The distance is that of the target from the nearer end, if it lies outside.

    Args:
        targets, lower, upper, sample_weight, reduction: As for
            `interval_coverage`.
        level: Float in (0, 1), the probability that the interval should have.

    Returns:
        A number, or `(rows, ...)`, in the unit of the targets.

    Raises:
        ValueError: In the same cases as `interval_coverage`; if `level` is out
            of its range.

    Example:

    >>> score = interval_score([3.0], [0.0], [2.0], level=0.9)
    >>> round(float(score), 6)  # the width, 2, and 20 times what was missed, 1
    22.0

    Reference: [Gneiting & Raftery, 2007](
    https://doi.org/10.1198/016214506000001437), equation 43.
    """
    _checks.between_0_and_1(level, "level")
    xp, targets, lower, upper = inputs.interval(targets, lower, upper)
    missed = xp.maximum(lower - targets, 0.0) + xp.maximum(targets - upper, 0.0)
    each = upper - lower + 2.0 / (1.0 - level) * missed
    each = xp.where(lower <= upper, each, float("nan"))
    return inputs.reduced(xp, each, sample_weight, reduction)


@blame("gaussian_reliability")
def gaussian_reliability(
    targets: ArrayLike, mean: Tensor, variance: Tensor, num_levels: int = 99
) -> Reliability:
    """The fraction of targets in the central intervals of normals, by level.

    Args:
        targets: `(rows, ...)`.
        mean, variance: `(rows, ...)`.
        num_levels: Integer, levels equally spaced between 0 and 1.

    Returns:
        A `Reliability`: `predicted` are the levels, `observed` the coverages.

    Raises:
        ValueError: In the same cases as `gaussian_negative_log_likelihood`; if
            an array holds NaN; if there are no rows.

    Example:

    >>> curve = gaussian_reliability(
    ...     [0.1, 3.0], np.zeros(2), np.ones(2), num_levels=3
    ... )
    >>> curve.predicted, curve.observed
    (array([0.25, 0.5 , 0.75]), array([0.5, 0.5, 0.5]))

    Reference: [Kuleshov, Fenner & Ermon, 2018](
    https://arxiv.org/abs/1807.00263), section 3.5.
    """
    _checks.positive_integer(num_levels, "num_levels")
    xp, targets, mean, variance = inputs.normal(targets, mean, variance)
    # A target lies in all intervals of this level or a higher one.
    distance = xp.abs(targets - mean) / xp.sqrt(variance)
    inputs.check_numbers(xp, distance)
    needed = xp.reshape(2.0 * arrays.normal_cdf(xp, distance) - 1.0, (-1, 1))
    levels = np.arange(1, num_levels + 1) / (num_levels + 1)
    _, levels, needed = arrays.floats(levels, needed)
    inside = arrays.like(xp, needed <= levels, needed)
    inside = xp.where(needed == needed, inside, float("nan"))
    rows = xp.sum(xp.ones_like(needed))
    observed = arrays.weighted(xp, xp.sum(inside, axis=0), rows)
    return Reliability(rows * xp.ones_like(levels), levels, observed)
