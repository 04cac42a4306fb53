"""The quantile of calibration scores that makes conformal prediction exact."""

import fractions
import math

import numpy as np

from kerasdrop import _checks
from kerasdrop._formulas import arrays
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._refusals import blame_itself
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.calibration import predictions
from kerasdrop.calibration.saved import Calibrator
from kerasdrop.calibration.saved import finite_column

# Sums of weights that differ by no more than this differ only by rounding.
_ROUNDED = 1e-12

# The error of computing an end from a score, and back, in units of rounding.
_STEPS = 4.0


class Conformal(Calibrator):
    """Scores of calibration rows, and their thresholds.

    Args:
        scores: Finite numbers, one for each row; low where the prediction
            agrees with the target.
        weights: As many numbers of at least 0, or None.
        groups: As many integers or strings, or None.
    """

    def __init__(
        self,
        scores: ArrayLike,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> None:
        with blame(type(self).__name__):
            self.scores = finite_column(scores, "scores")
            self.weights = None
            if weights is not None:
                weights = finite_column(weights, "weights")
                self.weights = arrays.weight_like(np, weights, self.scores)
            self.groups = None
            if groups is not None:
                self.groups = labels(groups, len(self.scores))
        self._by_group = self._sorted()

    def _sorted(self) -> dict[Given, tuple[Array, Array]]:
        """Scores and sums of weights, the lowest first, of each group."""
        weights = self.weights
        if weights is None:
            weights = np.ones(len(self.scores))
        groups = self.groups or [None] * len(self.scores)
        rows: dict[Given, list[int]] = {}
        for row, group in enumerate(groups):
            rows.setdefault(group, []).append(row)
        found = {}
        for group, members in rows.items():
            order = np.argsort(self.scores[members], kind="stable")
            members = np.array(members)[order]
            sums = np.cumsum(weights[members])
            if not sums[-1] > 0.0:
                raise ValueError(
                    f"{type(self).__name__}: there must be a row with a weight "
                    f"above 0{_in(group)}. Received: a sum of weights of "
                    f"{sums[-1]:g}"
                )
            found[group] = (self.scores[members], sums)
        return found

    @blame_itself
    def threshold(
        self,
        level: float,
        rows: int | None,
        groups: ArrayLike | None,
        sample_weight: ArrayLike | None,
    ) -> float | Array:
        """The score that a target stays below with probability `level`.

        Args:
            level: Float in (0, 1).
            rows: Integer or None, the number of new rows.
            groups: The group of each new row, if the fit had groups.
            sample_weight: The weight of each new row, if the fit had weights.

        Returns:
            A float, or an array `(rows,)` if rows differ; infinite if a weight
            is too high for the calibration rows.
        """
        exact = _checks.exact_fraction(_checks.between_0_and_1(level, "level"))
        self._check_same("groups", self.groups, groups)
        self._check_same("sample_weight", self.weights, sample_weight)
        if groups is not None:
            groups = labels(groups, rows)
            self._check_known(groups)
        if sample_weight is None:
            found = {
                group: self._of_rank(group, exact)
                for group in dict.fromkeys([None] if groups is None else groups)
            }
            if groups is None:
                return found[None]
            return np.array([found[group] for group in groups])
        if rows is None:
            raise Refusal(
                "weights of rows need a known number of rows. Call "
                "it on arrays, or on inputs of a fixed batch size. Received: "
                "rows of unknown number"
            )
        given = np.asarray(predictions.as_numpy(sample_weight), "float64")
        weight = arrays.weight_like(np, given, np.empty(rows))
        predictions.check_finite(weight, "weights")
        return np.array(
            [
                self._of_weight(group, exact, each)
                for group, each in zip(groups or [None] * rows, weight)
            ]
        )

    def _of_rank(self, group: Given, level: fractions.Fraction) -> float:
        """The score of rank `ceil((n + 1) level)` among n, without weights."""
        scores, _ = self._by_group[group]
        rank = math.ceil((len(scores) + 1) * level)
        if rank > len(scores):
            needed = math.ceil(level / (1 - level))
            raise ValueError(
                f"{type(self).__name__}: {len(scores)} rows{_in(group)} cannot "
                f"reach a level of {float(level):g}, which needs {needed}. Fit "
                "on more rows, or request a level of at most "
                f"{len(scores) / (len(scores) + 1):.4g}"
            )
        return float(scores[rank - 1])

    def _of_weight(
        self, group: Given, level: fractions.Fraction, weight: Tensor
    ) -> float:
        """The same with the weights of the rows and of the new row."""
        scores, sums = self._by_group[group]
        wanted = float(level) * (sums[-1] + weight) * (1.0 - _ROUNDED)
        place = np.searchsorted(sums, wanted, side="left")
        return float(scores[place]) if place < len(scores) else math.inf

    def _check_same(self, name: str, fitted: Given, given: Given) -> None:
        if (fitted is None) == (given is None):
            return
        with_, without = "with", "without"
        if fitted is None:
            with_, without = without, with_
        raise ValueError(
            f"{type(self).__name__}: it was fitted {with_} `{name}`, so it "
            f"must be called {with_} one for each row. Received: a call "
            f"{without} `{name}`"
        )

    def _check_known(self, groups: ArrayLike) -> None:
        unknown = [each for each in groups if each not in self._by_group]
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: each row must belong to a group of "
                f"the fit: {', '.join(map(repr, self._by_group))}. Received: "
                f"{unknown[0]!r}"
            )

    def get_config(self) -> Config:
        """The arguments of the constructor: a dict that JSON can hold."""
        weights = self.weights
        return {
            "scores": self.scores.tolist(),
            "weights": None if weights is None else weights.tolist(),
            "groups": self.groups,
        }

    def _described(self) -> str:
        parts = [f"{len(self.scores)} rows"]
        if self.groups is not None:
            parts.append(f"{len(self._by_group)} groups")
        if self.weights is not None:
            parts.append("weighted")
        return ", ".join(parts)


def slack(values: Tensor, *sizes: float) -> float:
    """The rounding error between two equal numbers computed from these sizes.

    A score that equals the threshold counts as below it. If targets or inputs
    repeat, many rows have that score, and rounding would lose them all.

    Args:
        values: An array or a tensor, whose dtype was used to compute.
        sizes: Numbers or arrays of at least 0.
    """
    return _STEPS * arrays.rounding(values) * sum(sizes)


def fitted_weight(sample_weight: ArrayLike, rows: int) -> Array | None:
    """The weights of calibration rows as an array, or None."""
    if sample_weight is None:
        return None
    given = np.asarray(predictions.as_numpy(sample_weight), "float64")
    return arrays.weight_like(np, given, np.empty(rows))


def labels(groups: ArrayLike, rows: int | None) -> list[int] | list[str]:
    """Labels of groups, one for each row: a list of integers or strings."""
    given = np.asarray(predictions.as_numpy(groups))
    found = given.reshape(-1).tolist()
    is_column = given.ndim == 1 or (given.ndim == 2 and given.shape[1] == 1)
    is_legal = all(type(each) in (int, str) for each in found)
    if not is_column or not is_legal or rows not in (None, len(found)):
        wanted = "row" if rows is None else f"of {rows} rows"
        raise Refusal(
            f"argument `groups` must be an integer or a string for "
            f"each {wanted}. Received: groups of shape {given.shape} and "
            f"dtype {given.dtype}"
        )
    return found


def _in(group: Given) -> str:
    return "" if group is None else f" of group {group!r}"
