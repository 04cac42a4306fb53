"""How well an uncertainty distinguishes two sets of rows."""

import fractions
import math
import statistics
from typing import NamedTuple

import numpy as np

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import Tensor
from kerasdrop.calibration import predictions

_MOST_AT_ONCE = 2**22  # numbers of bootstrap samples that are held at a time


class OODDetection(NamedTuple):
    """How well an uncertainty tells shifted rows from usual ones.

    Shifted rows are the positive class; they should have the higher
    uncertainty. Each interval is `(lower, upper)`, or None if it was not
    requested.

    Attributes:
        auroc: The area under the ROC curve: the probability that a shifted row
            is more uncertain than a usual one, where ties count half; 0.5 is
            chance.
        aupr: The area under the precision-recall curve, as a sum of steps
            (average precision). Chance is the fraction of shifted rows, so only
            compare values for the same two sets.
        fpr: The false positive rate: the smallest fraction of usual rows above
            a threshold that finds 95 % of the shifted ones, or the requested
            `true_positive_rate`.
        auroc_interval: By DeLong's method, or by the bootstrap if that was
            requested.
        aupr_interval, fpr_interval: By the bootstrap.

    Example:

    >>> found = ood_detection(usual=[0.1, 0.2, 0.3], shifted=[0.25, 0.4])
    >>> round(found.auroc, 4)  # 5 of 6 pairs are in order
    0.8333
    """

    auroc: float
    aupr: float
    fpr: float
    auroc_interval: tuple[float, ...] | None
    aupr_interval: tuple[float, ...] | None
    fpr_interval: tuple[float, ...] | None


@blame("ood_detection")
def ood_detection(
    usual: Array,
    shifted: Array,
    true_positive_rate: float = 0.95,
    level: float = 0.95,
    interval: str | None = "delong",
    num_resamples: int = 1000,
    seed: int = 0,
) -> OODDetection:
    """Out-of-distribution detection: AUROC, AUPR and FPR at 95 % TPR.

    The intervals are for other rows of the same two kinds, with this model.
    They do not cover another training of the model or another shift. If the two
    sets do not overlap, an interval has no width: these rows then do not show
    how exact the number is.

    Args:
        usual: `(rows,)`, an uncertainty of rows like those of the training set,
            higher for less certain rows, e.g. `result.predictive_entropy`.
        shifted: `(other rows,)`, the uncertainty of rows that should be
            detected.
        true_positive_rate: Float in (0, 1), the fraction of shifted rows that
            the threshold of `fpr` finds.
        level: Float in (0, 1), the probability of the intervals.
        interval: `"delong"`: a normal interval for the area under the ROC
            curve, cut at 0 and 1, and no interval for the others.
            `"bootstrap"`: percentile intervals for all three, where each set is
            resampled separately. None: no intervals.
        num_resamples: Integer, the number of bootstrap samples.
        seed: Integer of at least 0, for the bootstrap.

    Returns:
        An `OODDetection`, of Python floats.

    Raises:
        ValueError: If a set has no rows or holds NaN, or has only one row for
            `"delong"`; if an argument is out of its range.

    Example:

    >>> found = ood_detection(usual=[0.1, 0.2, 0.3], shifted=[0.25, 0.4])
    >>> round(found.auroc, 4), found.auroc_interval[1]
    (0.8333, 1.0)

    References: [DeLong, DeLong & Clarke-Pearson, 1988](
    https://doi.org/10.2307/2531595); [Hendrycks & Gimpel, 2017](
    https://arxiv.org/abs/1610.02136) and [Liang, Li & Srikant, 2018](
    https://arxiv.org/abs/1706.02690) for the three numbers.
    """
    rate = _checks.exact_fraction(
        _checks.between_0_and_1(true_positive_rate, "true_positive_rate")
    )
    _checks.between_0_and_1(level, "level")
    if interval is not None:
        _checks.choice(interval, ("delong", "bootstrap"), "interval")
    usual = _set(usual, "usual")
    shifted = _set(shifted, "shifted")
    counts = _counts(usual, shifted)
    auroc, aupr, fpr = (float(each[0]) for each in _areas(*counts, rate))
    intervals: list[tuple[float, ...] | None] = [None] * 3
    if interval == "delong":
        intervals[0] = _delong(usual, shifted, counts, auroc, level)
    if interval == "bootstrap":
        _checks.positive_integer(num_resamples, "num_resamples")
        seed = _checks.step(seed, "seed")
        drawn = _resampled(*counts, rate, num_resamples, seed)
        ends = np.quantile(drawn, [0.5 - 0.5 * level, 0.5 + 0.5 * level], 1)
        intervals = [tuple(map(float, each)) for each in ends.T]
    return OODDetection(auroc, aupr, fpr, *intervals)


def _set(values: Tensor, name: str) -> Array:
    values = np.asarray(predictions.as_numpy(values), "float64")
    if values.ndim != 1 or not len(values) or np.isnan(values).any():
        received = f"{name} of shape {values.shape}"
        if np.isnan(values).any():
            received += " with NaN"
        raise Refusal(
            f"argument `{name}` must have a number for each row, "
            f"`(rows,)`. Received: {received}"
        )
    return values


def _counts(usual: Array, shifted: Array) -> tuple[Array, Array]:
    """How often each distinct value occurs, the highest first: `(1, n)`."""
    values, where = np.unique(
        np.concatenate([usual, shifted]), return_inverse=True
    )
    return tuple(
        np.bincount(part, minlength=len(values))[None, ::-1]
        for part in (where[: len(usual)], where[len(usual) :])
    )


def _areas(
    usual: Array, shifted: Array, rate: fractions.Fraction
) -> tuple[Array, Array, Array]:
    """AUROC, AUPR and FPR of counts `(resamples, distinct values)`."""
    false, true = np.cumsum(usual, axis=-1), np.cumsum(shifted, axis=-1)
    negatives, positives = false[:, -1:], true[:, -1:]
    # Usual rows with the same value as a shifted row count half.
    above = true - 0.5 * shifted
    auroc = np.sum(usual * above, axis=-1) / (negatives * positives)[:, 0]
    alarms = np.maximum(false + true, 1)
    aupr = np.sum(shifted * (true / alarms), axis=-1) / positives[:, 0]
    wanted = math.ceil(rate * int(positives[0, 0]))
    first = np.argmax(true >= wanted, axis=-1)
    fpr = np.take_along_axis(false, first[:, None], -1) / negatives
    return auroc, aupr, fpr[:, 0]


def _delong(
    usual: Array,
    shifted: Array,
    counts: tuple[Array, ...],
    auroc: float,
    level: float,
) -> tuple[float, float]:
    """The normal interval of the area, from its variance over rows."""
    if min(len(usual), len(shifted)) < 2:
        raise Refusal(
            f"an interval by DeLong needs two rows of each set. Pass "
            f"`interval=None`. Received: {len(usual)} usual and {len(shifted)} "
            "shifted rows"
        )
    false, true = (np.cumsum(each[0]) for each in counts)
    of_usual, of_shifted = (each[0] for each in counts)
    # For each value, the fraction of the other set on the correct side of it.
    below = (len(usual) - false + 0.5 * of_usual) / len(usual)
    above = (true - 0.5 * of_shifted) / len(shifted)
    variance = sum(
        np.sum(count * np.square(part - auroc)) / (rows - 1) / rows
        for count, part, rows in (
            (of_shifted, below, len(shifted)),
            (of_usual, above, len(usual)),
        )
    )
    half = statistics.NormalDist().inv_cdf(0.5 + 0.5 * level) * math.sqrt(
        variance
    )
    return max(0.0, auroc - half), min(1.0, auroc + half)


def _resampled(
    usual: Array,
    shifted: Array,
    rate: fractions.Fraction,
    num_resamples: int,
    seed: int,
) -> Array:
    """The three numbers of bootstrap samples, `(3, resamples)`."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _MOST_AT_ONCE // usual.shape[1])
    parts = []
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        drawn_usual, drawn_shifted = (
            generator.multinomial(each.sum(), each[0] / each.sum(), size)
            for each in (usual, shifted)
        )
        parts.append(np.stack(_areas(drawn_usual, drawn_shifted, rate)))
    return np.concatenate(parts, axis=1)
