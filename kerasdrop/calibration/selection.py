"""Selective prediction: the error left if uncertain rows are refused."""

from typing import NamedTuple

import numpy as np

from kerasdrop._formulas import arrays
from kerasdrop._formulas import target_shapes
from kerasdrop._refusals import blame
from kerasdrop._types import ArrayLike
from kerasdrop._types import Tensor


class RiskCoverage(NamedTuple):
    """The mean error of the rows that are kept, the most certain ones first.

    Attributes:
        coverage: `(rows,)`, the fraction of rows that is kept.
        risk: `(rows,)`, the mean error among them.

    Example:

    >>> curve = risk_coverage(errors=[0, 1], uncertainty=[0.1, 0.9])
    >>> curve.coverage, curve.risk
    (array([0.5, 1. ]), array([0. , 0.5]))
    """

    coverage: Tensor
    risk: Tensor


@blame("risk_coverage")
def risk_coverage(errors: ArrayLike, uncertainty: ArrayLike) -> RiskCoverage:
    """The mean error of the rows that remain if the least certain are refused.

    Rows of equal uncertainty have no order: each of them counts with their mean
    error.

    Args:
        errors: `(rows,)`, e.g. `result.mean.argmax(-1) != labels`, or squared
            errors.
        uncertainty: `(rows,)`, higher for less certain rows, e.g.
            `result.predictive_entropy`.

    Returns:
        A `RiskCoverage`.

    Raises:
        ValueError: If there are no rows, if the two arguments differ in their
            number of rows, or if a value is not a number.

    Example:

    >>> curve = risk_coverage(errors=[0, 0, 1], uncertainty=[0.1, 0.2, 0.9])
    >>> curve.risk  # of the most certain row, of the two most certain, of all
    array([0.        , 0.        , 0.33333333])

    Reference: [El-Yaniv & Wiener, 2010](
    https://jmlr.org/papers/v11/el-yaniv10a.html).
    """
    xp, uncertainty = arrays.floats(uncertainty)
    if len(uncertainty.shape) != 1 or uncertainty.shape[0] == 0:
        raise ValueError(
            "risk_coverage: argument `uncertainty` must have a number for "
            "each row, `(rows,)`. Received: uncertainty of shape "
            f"{tuple(uncertainty.shape)}"
        )
    errors = target_shapes.like(
        errors, uncertainty, "an error for each uncertainty"
    )
    if xp is np and not (np.isfinite(errors) & ~np.isnan(uncertainty)).all():
        raise ValueError(
            "risk_coverage: errors must be finite and uncertainties numbers. "
            f"Received: errors from {errors.min():.6g} to {errors.max():.6g}, "
            f"uncertainties from {uncertainty.min():.6g} to "
            f"{uncertainty.max():.6g}"
        )
    order = arrays.order(xp, uncertainty)
    ordered = xp.take(uncertainty, order)
    total = xp.concatenate(
        [xp.zeros_like(errors[:1]), xp.cumsum(xp.take(errors, order))]
    )
    first = xp.searchsorted(ordered, ordered, side="left")
    end = xp.searchsorted(ordered, ordered, side="right")
    of_equals = xp.take(total, end) - xp.take(total, first)
    risks = xp.cumsum(of_equals / arrays.like(xp, end - first, errors))
    kept = xp.cumsum(xp.ones_like(errors))
    return RiskCoverage(kept / kept[-1], risks / kept)


def area_under_risk_coverage(
    errors: ArrayLike, uncertainty: ArrayLike
) -> Tensor:
    """Mean risk over all coverages (AURC): low if wrong rows are uncertain.

    It combines how often a model errs with whether its uncertainty shows when.
    Compare it between uncertainties of one model, or together with the
    accuracy.

    Args:
        errors, uncertainty: `(rows,)`, as for `risk_coverage`.

    Returns:
        A number; the mean error if the uncertainty is uninformative.

    Raises:
        ValueError: In the same cases as `risk_coverage`.

    Example:

    >>> errors = [0, 1]
    >>> float(area_under_risk_coverage(errors, uncertainty=[0.1, 0.9]))
    0.25
    >>> float(area_under_risk_coverage(errors, uncertainty=[0.9, 0.1]))
    0.75

    Reference: [Geifman, Uziel & El-Yaniv, 2019](
    https://arxiv.org/abs/1805.08206), section 2.
    """
    risk = risk_coverage(errors, uncertainty).risk
    xp, risk = arrays.floats(risk)
    return xp.mean(risk)
