"""The variance of a sample, and the error of the mean, from the samples drawn.

Notation: T samples, n whole sets of m = 16 among them and r = T - 16 n others;
S the sum of the squared deviations of all samples from their mean; v the
variance of the n set means. For independent samples only T and S count.

Any two samples of a set have the same covariance c, and samples of different
sets are independent. Let s² be the variance of one sample. Then a set mean has
the variance v = (s² + 15 c) / 16, the mean of all samples has the variance

    [256 n v + r s² + r (r - 1) c] / T²

and the expectation of S is T s² minus T times that variance. With two or more
whole sets there is an unbiased estimate of v, and the two equations give an
unbiased estimate of s². With one set only S is known, which estimates s² - v,
so no quadratic formula is unbiased.

Formulas are for arrays and tensors, see `arrays`.
"""

from typing import NamedTuple

import numpy as np

from kerasdrop._formulas import arrays
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor
from kerasdrop.masks.plans import FEWEST_SAMPLES
from kerasdrop.masks.plans import SET_SIZE
from kerasdrop.masks.plans import set_size

# The largest factor of samples that a plan is assumed to save. The means of a
# few sets may be equal by chance, or because a rare unit was dropped once in
# each set so far.
_LARGEST_GAIN = 16.0

# An event with probability p occurs in c / p samples with probability 1 -
# exp(-c).
_TIMES_TO_EXPECT = 10.0

# Samples that differ by fewer roundings of their mean than this count as equal,
# because each is summed and rounded in its own order.
_ROUNDINGS = 16.0


class Seen(NamedTuple):
    """The sums of the samples of a row, arrays or tensors that broadcast.

    Attributes:
        num_samples: T, the number of samples.
        mean: Their mean.
        squares: S.
        num_sets: n, the number of whole sets.
        set_squares: Sum of squared deviations of the set means from theirs.
    """

    num_samples: Tensor
    mean: Tensor
    squares: Tensor
    num_sets: Tensor
    set_squares: Tensor


def variance(plan: str, seen: Seen) -> Tensor:
    """The variance of one sample; NaN if there is a single one.

    The estimate is unbiased, except with fewer than two whole sets of the
    stratified plan. It is then between 3.7 % too low, if units act only in
    pairs, and 3.3 % too high, if each acts by itself.

    Args:
        plan: One of `plans.PLANS`.
        seen: A `Seen`.
    """
    xp, *numbers = arrays.floats(*seen)
    return _variance(xp, plan, Seen(*numbers))


def _variance(xp: Namespace, plan: str, seen: Seen) -> Tensor:
    count, _, squares, num_sets, _ = seen
    of_independent = squares / xp.where(count > 1.0, count - 1.0, float("nan"))
    if set_size(plan) is None:
        return of_independent
    rest = count - SET_SIZE * num_sets
    pairs = rest * (rest - 1.0) / (SET_SIZE - 1)
    between = _variance_of_sets(xp, seen)
    has_sets = num_sets >= 2.0
    lost = rest * (SET_SIZE - rest) / ((SET_SIZE - 1) * count**2)
    of_sets = (
        squares / count
        + between * (SET_SIZE**2 * num_sets + SET_SIZE * pairs) / count**2
    ) / (1.0 - xp.where(has_sets, lost, 0.0))
    # The expectation is (s² - v) 16 / 15. v is s² / 15 if units act in pairs,
    # and 0 if each acts by itself. For s² / 32, which is between them, the
    # factor is 15/16 * 32/31.
    of_one_set = of_independent * (30.0 / 31.0)
    return xp.where(has_sets, of_sets, of_one_set)


def squared_standard_error(
    plan: str, seen: Seen, of_one: Tensor | None = None
) -> Tensor:
    """The squared error with which `mean` plus or minus twice it covers 95 %.

    For independent samples it is variance / T, the squared standard error.

    The samples of a stratified set are dependent, but the means of whole sets
    are independent. The variance of n set means has n - 1 degrees of freedom,
    so it is multiplied by the factor that makes twice its root the half width
    of a t interval. That interval is wide for few sets. But for any network the
    mean of a set is hardly worse than the mean of 16 independent samples, which
    gives a bound, with a margin for the uncertainty of the bound. With many
    sets the result is the squared standard error, with few an upper bound of
    it, and with fewer than two, variance / T.

    The result includes the rounding of the mean to its dtype.

    Args:
        plan: One of `plans.PLANS`.
        seen: A `Seen`.
        of_one: The `variance` of one sample, if it is known.
    """
    xp, *numbers = arrays.floats(*seen)
    seen = Seen(*numbers)
    count, mean, _, num_sets, _ = seen
    if of_one is None:
        of_one = _variance(xp, plan, seen)
    squared = of_one / count
    if set_size(plan) is not None:
        n = xp.maximum(num_sets, 1.0)
        of_set_mean = xp.minimum(
            (1.0 + 0.5 / n) * of_one / SET_SIZE,
            _squared_half_t(xp, n - 1.0) * _variance_of_sets(xp, seen),
        )
        rest = count - SET_SIZE * num_sets
        # The covariance of two samples of a set, times the pairs of the rest.
        pairs = rest * (rest - 1.0) / (SET_SIZE - 1)
        of_sets = (
            SET_SIZE**2 * n * of_set_mean
            + rest * of_one
            - pairs * (of_one - SET_SIZE * of_set_mean)
        ) / count**2
        squared = xp.where(num_sets >= 2.0, of_sets, squared)
    return squared + _squared_rounding(xp, mean)


def reaches(
    plan: str, seen: Seen, tolerance: float, smallest_chance: float
) -> Tensor:
    """Whether the mean is exact enough, element by element.

    Args:
        plan: One of `plans.PLANS`.
        seen: A `Seen`, of whole sets.
        tolerance: A number.
        smallest_chance: The smallest probability above 0 of a unit to be
            dropped, or to be kept.
    """
    xp, *numbers = arrays.floats(*seen)
    seen = Seen(*numbers)
    count, mean, squares, num_sets, _ = seen
    of_one = _variance(xp, plan, seen)
    if set_size(plan) is not None:
        n = xp.maximum(num_sets, 1.0)
        of_set_mean = xp.maximum(
            _squared_half_t(xp, n - 1.0) * _variance_of_sets(xp, seen),
            of_one / (SET_SIZE * _LARGEST_GAIN),
        )
        # A row that stops early tends to have a variance that is too low by
        # chance, so the whole factor of t is used, and a little more.
        squared = of_set_mean / n * (1.0 + 1.0 / n)
    else:
        squared = of_one / count
    squared = squared + _squared_rounding(xp, mean)
    are_equal = squares <= count * _ROUNDINGS**2 * 3.0 * _squared_rounding(
        xp, mean
    )
    chance = arrays.like(xp, smallest_chance, count)
    fewest = xp.where(are_equal, _TIMES_TO_EXPECT / chance, 0.0)
    # A comparison with NaN, of a single sample, is false.
    return (
        (squared <= tolerance**2)
        & (count >= float(FEWEST_SAMPLES))
        & (count >= fewest)
    )


def _variance_of_sets(xp: Namespace, seen: Seen) -> Tensor:
    """The estimate of v, from n - 1 degrees of freedom; 0 if there are none."""
    return seen.set_squares / xp.maximum(seen.num_sets - 1.0, 1.0)


def _squared_half_t(xp: Namespace, degrees: Tensor) -> Tensor:
    """The square of half the 97.725 % quantile of Student's t.

    It is halved because the quantile of the normal distribution is 2. The
    expansion in powers of 1 / degrees has an error of at most .9 % from 2
    degrees of freedom on. At 1 it would be 12 % too low, which the last term
    corrects; with more degrees this term is negligible.
    """
    x = 1.0 / xp.maximum(degrees, 1.0)
    half = 1.0 + x * (1.25 + x * (1.53125 + x * (1.4297 + x * 0.922)))
    half = half + 0.8509 * xp.square(xp.square(xp.square(x)))
    return half * half


def _squared_rounding(xp: Namespace, mean: Tensor) -> Tensor:
    """The variance of the rounding of a mean to its dtype.

    The rounding error is taken as uniform within half a unit in the last place,
    which is at most the mean times half the dtype's epsilon.
    """
    epsilon = float(np.finfo(arrays.dtype_name(mean)).eps)
    return xp.square(mean * (0.5 * epsilon)) / 3.0
