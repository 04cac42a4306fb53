"""Split conformal prediction of a class."""

import numpy as np

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._formulas import categorical
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Config
from kerasdrop._types import Namespace
from kerasdrop._types import Seed
from kerasdrop._types import Tensor
from kerasdrop.calibration import conformity
from kerasdrop.calibration import inputs
from kerasdrop.calibration import predictions

METHODS = ("lac", "aps", "raps")


class ConformalSets(conformity.Conformal):
    """Sets of classes with guaranteed coverage, made by `fit_conformal_sets`.

    Args:
        method: `"lac"`, `"aps"` or `"raps"`.
        scores: n finite numbers, the scores of the calibration rows.
        weights: n numbers of at least 0, or None.
        groups: n integers or strings, or None.
        penalty: Float of at least 0, for `"raps"` only: the amount that each
            class beyond `free_classes` adds to the score.
        free_classes: Integer of at least 0, for `"raps"` only: the number of
            classes without a penalty.
        randomized: Whether `"aps"` and `"raps"` decide at random whether the
            last class is in the set.
        seed: Integer of at least 0, for these random decisions.

    Call arguments:
        probabilities: `(rows, classes)`, or `(rows, 1)` for the positive class;
            or the result of `mc_predict`.
        level: Float in (0, 1), the probability that the class is in its set.
        groups: An integer or a string for each row, if the fit had groups.
        sample_weight: `(rows,)`, if the fit had weights: how much likelier a
            row like this is now than it was among the calibration rows, up to
            one factor for all rows.
        seed: Integer of at least 0, for the random decisions of this call; None
            for the seed of the fit. The same seed gives the same sets for the
            same rows in the same order. Pass another seed for each batch, so
            that batches are decided independently.

    Returns (of a call):
        `(rows, classes)`, bool: whether a class is in the set of the row. A set
        may be empty: for `"lac"` if all classes are unlikely, for the others if
        the random decision leaves out the only class. With weights, a row whose
        own weight is too high for the calibration rows has all classes.

    Raises:
        ValueError: If there are too few calibration rows, or rows of a group,
            for the level (the message says how many it needs); if a group was
            not fitted; if an array does not hold probabilities.

    Example:

    >>> p = np.array([[0.7, 0.2, 0.1]] * 19)
    >>> sets = fit_conformal_sets([0] * 17 + [1] * 2, p, method="lac")
    >>> sets(p[:1], level=0.8)
    array([[ True, False, False]])

    The references are those of `fit_conformal_sets`.
    """

    @blame("ConformalSets")
    def __init__(
        self,
        method: str,
        scores: ArrayLike,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        penalty: float | None = None,
        free_classes: int | None = None,
        randomized: bool = True,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.penalty, self.free_classes = _settings(
            method, penalty, free_classes
        )
        self.randomized = _checks.flag(randomized, "randomized")
        self.seed = _checks.step(seed, "seed")
        super().__init__(scores, weights, groups)

    @blame("ConformalSets")
    def __call__(
        self,
        probabilities: ArrayLike,
        level: float = 0.9,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        seed: Seed = None,
    ) -> Tensor:
        _, p = _checked(probabilities)
        rows = p.shape[0]
        threshold = self.threshold(level, rows, groups, sample_weight)
        if isinstance(threshold, np.ndarray):
            _, threshold, p = arrays.floats(threshold[:, None], p)
        drawn: Tensor = 0.0
        if self.randomized and self.method != "lac":
            seed = self.seed if seed is None else seed
            seed = _checks.step(seed, "seed")
            # These differ from the draws of the fit, which has the same seed.
            drawn = draws(seed, 1, rows)
        scores = scores_of(
            p, self.method, drawn, self.penalty, self.free_classes
        )
        return scores <= threshold + conformity.slack(p, 1.0, abs(threshold))

    def get_config(self) -> Config:
        """The arguments of the constructor: a dict that JSON can hold."""
        return {
            "method": self.method,
            **super().get_config(),
            "penalty": self.penalty,
            "free_classes": self.free_classes,
            "randomized": self.randomized,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        return f"ConformalSets({self.method!r}, {self._described()})"


@blame("fit_conformal_sets")
def fit_conformal_sets(
    targets: ArrayLike,
    probabilities: ArrayLike,
    method: str = "aps",
    groups: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    penalty: float | None = None,
    free_classes: int | None = None,
    randomized: bool = True,
    seed: int = 0,
) -> ConformalSets:
    """Learns from rows with targets which classes a set has to contain.

    The guarantee is that of `fit_conformal_intervals`: the class is in its set
    with probability at least `level`, on average over rows that are
    exchangeable with these. It does not hold for each row or each class. Groups
    must be a function of the input, such as the most probable class, because
    the target of a new row is unknown.

    Args:
        targets: Integers `(rows,)`, or one-hot `(rows, classes)`, of rows that
            were used neither to train the model nor to select it.
        probabilities: `(rows, classes)`, or `(rows, 1)` for the positive class;
            or the result of `mc_predict`.
        method: The score. A class is in the set if its score is low:

            - `"lac"`: one minus the probability of the class. The sets are the
              smallest on average; hard rows are covered less often than easy
              ones.
            - `"aps"`: the total probability of all classes that are at least as
              probable. The sets are larger, and larger for harder rows.
            - `"raps"`: the same, plus `penalty` for each class beyond the first
              `free_classes`, which shortens long sets. Choose both on other
              rows than these.
        groups: An integer or a string for each row, or None. With groups, the
            coverage holds in each group, from its rows alone (Mondrian).
        sample_weight: `(rows,)` or None: how much likelier a row like this is
            among new rows, up to one factor for all rows. If these weights are
            right, the coverage holds under this change of the inputs.
        penalty: Float of at least 0, required for `"raps"`.
        free_classes: Integer of at least 0, required for `"raps"`.
        randomized: Whether `"aps"` and `"raps"` subtract a random part of the
            probability of the class itself from the score. Otherwise the sets
            are larger than necessary.
        seed: Integer of at least 0, for these random parts.

    Returns:
        A `ConformalSets`, to be called with a `level`.

    Raises:
        ValueError: If the arrays do not hold probabilities `(rows, classes)`
            and classes, or a setting does not belong to the method.

    Example:

    >>> p = np.array([[0.7, 0.2, 0.1]] * 19)
    >>> sets = fit_conformal_sets([0] * 17 + [1] * 2, p, method="lac")
    >>> sets(p[:1], level=0.8), sets(p[:1], level=0.9)
    (array([[ True, False, False]]), array([[ True,  True, False]]))

    References: [Sadinle, Lei & Wasserman, 2019](
    https://arxiv.org/abs/1609.00451) for LAC; [Romano, Sesia & Candès, 2020](
    https://arxiv.org/abs/2006.02544) for APS; [Angelopoulos et al., 2021](
    https://arxiv.org/abs/2009.14193) for RAPS; weights and groups as in
    `fit_conformal_intervals`.
    """
    penalty, free_classes = _settings(method, penalty, free_classes)
    randomized = _checks.flag(randomized, "randomized")
    seed = _checks.step(seed, "seed")
    given = predictions.probabilities(probabilities)
    _, p = _checked(predictions.as_numpy(given))
    one_hot = inputs.one_hot(predictions.as_numpy(targets), p)
    drawn: Tensor = 0.0
    if randomized and method != "lac":
        drawn = draws(seed, 0, len(p))
    of_classes = scores_of(p, method, drawn, penalty, free_classes)
    scores = of_classes[one_hot == 1.0]
    weights = conformity.fitted_weight(sample_weight, len(p))
    if groups is not None:
        groups = conformity.labels(groups, len(p))
    return ConformalSets(
        method,
        scores,
        weights,
        groups,
        penalty,
        free_classes,
        randomized,
        seed,
    )


def scores_of(
    p: Tensor,
    method: str,
    drawn: Tensor,
    penalty: float | None = None,
    free_classes: int | None = None,
) -> Tensor:
    """The score of each class, `(rows, classes)`.

    Args:
        p: Probabilities `(rows, classes)`.
        method: One of `METHODS`.
        drawn: The part of its own probability that is subtracted from the score
            of a class, `(rows, 1)` in [0, 1]; 0 for none.
        penalty, free_classes: As in `fit_conformal_sets`.
    """
    if method == "lac":
        xp, p = arrays.floats(p)
        return 1.0 - p
    xp, p, drawn = arrays.floats(p, drawn)
    # If probabilities are equal, the earlier class comes first.
    order = arrays.order(xp, -p)
    rank = arrays.order(xp, order)  # the place of each class in that order
    # The sums begin with the least probable class, so that the score of the
    # last class is exactly 1. A sum of all probabilities would be rounded, and
    # distinguish equal scores.
    lowest = xp.flip(xp.take_along_axis(p, order, axis=-1), axis=-1)
    less = xp.cumsum(lowest, axis=-1)[:, :-1]
    less = xp.flip(xp.pad(less, ((0, 0), (1, 0))), axis=-1)
    scores = 1.0 - xp.take_along_axis(less, rank, axis=-1) - drawn * p
    if method == "raps":
        beyond = arrays.like(xp, rank, p) + 1.0 - free_classes
        scores = scores + penalty * xp.maximum(beyond, 0.0)
    return scores


def draws(seed: int, stream: int, rows: int | None) -> Array:
    """Uniform numbers `(rows, 1)`, for the fit (0) or for a call (1)."""
    if rows is None:
        raise Refusal(
            "randomized sets need a known number of rows. Pass "
            "`randomized=False` to the fit. Received: rows of unknown number"
        )
    return np.random.default_rng([seed, stream]).random((rows, 1))


def _settings(
    method: str, penalty: float | None, free_classes: int | None
) -> tuple[float | None, int | None]:
    _checks.choice(method, METHODS, "method")
    given = (penalty, free_classes)
    if method != "raps":
        if given != (None, None):
            raise Refusal(
                f"`penalty` and `free_classes` belong to the method "
                f"'raps'. Leave them out. Received: method={method!r}, "
                f"penalty={penalty!r}, free_classes={free_classes!r}"
            )
        return given
    if None in given:
        raise Refusal(
            f"the method 'raps' needs a `penalty` and `free_classes`, "
            "chosen on other rows than these, e.g. 0.01 and 5 for ImageNet. "
            f"Received: penalty={penalty!r}, free_classes={free_classes!r}"
        )
    return (
        _checks.number(penalty, "penalty", 0.0),
        _checks.step(free_classes, "free_classes"),
    )


def _checked(probabilities: ArrayLike) -> tuple[Namespace, Tensor]:
    p = predictions.probabilities(probabilities)
    _, given = arrays.floats(p)
    if len(given.shape) != 2:
        raise Refusal(
            f"probabilities are `(rows, classes)`, or `(rows, 1)` for "
            "the positive class, because the guarantee is for rows. For "
            "images with a class for each pixel, pass one pixel or a summary. "
            f"Received: shape {tuple(given.shape)}"
        )
    return categorical.checked(given)
