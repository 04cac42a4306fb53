"""Split conformal prediction of a number."""

import numpy as np

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._formulas import target_shapes
from kerasdrop._refusals import blame
from kerasdrop._types import ArrayLike
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Namespace
from kerasdrop._types import Tensor
from kerasdrop.calibration import conformity
from kerasdrop.calibration import inputs
from kerasdrop.calibration import predictions

METHODS = ("absolute", "scaled", "quantiles")


class ConformalIntervals(conformity.Conformal):
    """Intervals with guaranteed coverage, made by `fit_conformal_intervals`.

    Args:
        method: `"absolute"`, `"scaled"` or `"quantiles"`.
        scores: n finite numbers, the scores of the calibration rows.
        weights: n numbers of at least 0, or None.
        groups: n integers or strings, or None.

    Call arguments:
        prediction: As in the fit: the mean, the lower ends, or the result of
            `mc_predict`; one number for each row, `(rows,)` or `(rows, 1)`.
        other: As in the fit: None, the variance or the upper ends.
        level: Float in (0, 1), the probability of the interval.
        groups: An integer or a string for each row, if the fit had groups.
        sample_weight: `(rows,)`, if the fit had weights: how much likelier a
            row like this is now than it was among the calibration rows, up to
            one factor for all rows.

    Returns (of a call):
        `(lower, upper)`, each in the shape of the prediction. They are wider by
        a few units of rounding, so that a target on the edge is inside. With
        weights, a row whose own weight is too high for the calibration rows has
        an infinite interval. If the correction of `"quantiles"` would shrink an
        interval by more than its width, both ends are its middle.

    Raises:
        ValueError: If there are too few calibration rows, or rows of a group,
            for the level (the message says how many it needs); if a group was
            not fitted; if the arguments are not those of the fit, or a variance
            in an array is not above 0.

    Example:

    >>> targets = np.arange(1.0, 20.0)  # of 19 rows, each predicted to be 0
    >>> intervals = fit_conformal_intervals(
    ...     targets, np.zeros(19), method="absolute"
    ... )
    >>> lower, upper = intervals(np.array([0.0]), level=0.9)
    >>> upper.round(6)
    array([18.])

    The references are those of `fit_conformal_intervals`.
    """

    @blame("ConformalIntervals")
    def __init__(
        self,
        method: str,
        scores: ArrayLike,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> None:
        _checks.choice(method, METHODS, "method")
        self.method = method
        super().__init__(scores, weights, groups)

    @blame("ConformalIntervals")
    def __call__(
        self,
        prediction: Given,
        other: Tensor | None = None,
        level: float = 0.9,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[Tensor, Tensor]:
        xp, first, second = _given(prediction, other, self.method)
        rows = predictions.column(xp, first).shape[0]
        threshold = self.threshold(level, rows, groups, sample_weight)
        if isinstance(threshold, np.ndarray):
            shape = (-1,) + (1,) * (len(first.shape) - 1)
            _, threshold, first = arrays.floats(threshold.reshape(shape), first)
        upper, half = first, threshold
        if self.method == "scaled":
            half = threshold * xp.sqrt(second)
        if self.method == "quantiles":
            upper = second
        lower, upper = (
            end + sign * (half + conformity.slack(first, abs(end), abs(half)))
            for end, sign in ((first, -1.0), (upper, 1.0))
        )
        if self.method != "quantiles":
            return lower, upper
        middle = 0.5 * (first + second)
        return xp.minimum(lower, middle), xp.maximum(upper, middle)

    def get_config(self) -> Config:
        """The arguments of the constructor: a dict that JSON can hold."""
        return {"method": self.method, **super().get_config()}

    def __repr__(self) -> str:
        return f"ConformalIntervals({self.method!r}, {self._described()})"


@blame("fit_conformal_intervals")
def fit_conformal_intervals(
    targets: ArrayLike,
    prediction: Given,
    other: Tensor | None = None,
    method: str = "scaled",
    groups: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> ConformalIntervals:
    """Learns from rows with targets how wide intervals have to be.

    The scores of n calibration rows are sorted, and the one of rank
    `ceil((n + 1) * level)` bounds the score of a new row. If the new rows are
    exchangeable with these (for example independent draws from the same
    distribution), the intervals contain the target with probability at least
    `level`. Without ties the probability is at most `1 / (n + 1)` higher. This
    holds for any model, but only on average over the new rows and over the
    choice of the calibration rows. It does not hold for each input, for a part
    of the rows, or after the data have changed. See `docs/intervals.md`.

    Args:
        targets: `(rows,)` or `(rows, 1)`, of rows that were used neither to
            train the model nor to select it.
        prediction: The result of `mc_predict`, or one number for each row: the
            mean, or the lower ends for `"quantiles"`.
        other: None with a result and for `"absolute"`; the variance for
            `"scaled"`; the upper ends for `"quantiles"`.
        method: The form of an interval, and its score:

            - `"absolute"`: `mean ± q`, equally wide in all rows. The score is
              the distance of the target from the mean.
            - `"scaled"`: `mean ± q * std`, wide where the model is unsure. The
              score is the distance divided by the predicted standard deviation.
            - `"quantiles"`: `[lower - q, upper + q]` (conformalized quantile
              regression). The score is the distance of the target from the
              nearer end, negative if it lies inside. A result needs at least
              two `quantiles`.
        groups: An integer or a string for each row, or None. With groups, the
            coverage holds in each group, from its rows alone (Mondrian).
        sample_weight: `(rows,)` or None: how much likelier a row like this is
            among new rows, up to one factor for all rows. If these weights are
            right, the coverage holds under this change of the inputs.

    Returns:
        A `ConformalIntervals`, to be called with a `level`.

    Raises:
        ValueError: If there are several numbers for a row, the shapes do not
            agree, a number is not finite, a variance is not above 0, or a
            lower end is above its upper one.

    Example:

    >>> targets = np.arange(1.0, 20.0)  # of 19 rows, each predicted to be 0
    >>> intervals = fit_conformal_intervals(
    ...     targets, np.zeros(19), method="absolute"
    ... )
    >>> lower, upper = intervals(np.array([5.0]), level=0.9)
    >>> lower.round(6), upper.round(6)  # 5 -+ the 18th distance
    (array([-13.]), array([23.]))

    References: [Lei et al., 2018](https://arxiv.org/abs/1604.04173) for the
    distance, plain and scaled; [Romano, Patterson & Candès, 2019](
    https://arxiv.org/abs/1905.03222) for quantiles; [Tibshirani et al., 2019](
    https://arxiv.org/abs/1904.06019) for weights; [Vovk, 2013](
    https://arxiv.org/abs/1209.2673) for groups.
    """
    _checks.choice(method, METHODS, "method")
    given = predictions.pair(prediction, other, method)
    given = tuple(map(predictions.as_numpy, given))
    _, first, second = _given(*given, method)
    predictions.check_finite(first, "predictions")
    targets = predictions.finite_targets(targets)
    targets = target_shapes.like(targets, first, "targets, a number each")
    if method == "quantiles":
        predictions.check_finite(second, "predictions")
        scores = np.maximum(first - targets, targets - second)
    else:
        scores = np.abs(targets - first)
    if method == "scaled":
        scores = scores / np.sqrt(second)
    scores = predictions.column(np, scores)
    predictions.check_finite(scores, "scores")
    weights = conformity.fitted_weight(sample_weight, len(scores))
    if groups is not None:
        groups = conformity.labels(groups, len(scores))
    return ConformalIntervals(method, scores, weights, groups)


def _given(
    prediction: Given, other: Tensor, method: str
) -> tuple[Namespace, Tensor, Tensor]:
    """The namespace, and the mean and the variance, or two ends."""
    first, second = predictions.pair(prediction, other, method)
    if method == "quantiles":
        xp, _, lower, upper = inputs.interval(first, first, second)
        return xp, lower, upper
    if method == "absolute":
        xp, first = arrays.floats(first)
        return xp, first, None
    xp, mean, variance = arrays.floats(first, second)
    variance = target_shapes.like(variance, mean, "a variance for each mean")
    # A variance of 0 gives no score unless the prediction is exact, so such a
    # row is not exchangeable with others, which the guarantee requires.
    variance = arrays.checked_variance(xp, variance, above_zero=True)
    return xp, mean, variance
