"""Compares scores at several rates."""

import abc
import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.montecarlo.rate_fitting.groups import Point
from kerasdrop.montecarlo.rate_fitting.scores import Score
from kerasdrop.montecarlo.rate_fitting.sweep import Swept
from kerasdrop.predictive import Predictive

# The number of resampled sets of rows, for the errors of a score that is not a
# mean over rows.
_RESAMPLES = 100


class Columns(NamedTuple):
    """The results at several points; NaN or infinite if unknown.

    Attributes:
        scores, monte_carlo_errors, shortfalls, shortfall_errors: Arrays
            `(points,)`.
    """

    scores: Array
    monte_carlo_errors: Array
    shortfalls: Array
    shortfall_errors: Array

    def fields(self) -> dict[str, Given]:
        """Arguments of a `RateCurve`, with None for NaN and infinity."""
        return {
            name: tuple(map(finite, value))
            for name, value in self._asdict().items()
        }


class Gain(NamedTuple):
    """The gain of the best point over weight scaling: numbers, or NaN."""

    weight_scaling: float
    gain: float
    gain_error: float

    def fields(self) -> dict[str, Given]:
        """Arguments of a `RateFit`, with None for NaN and infinity."""
        return {name: finite(value) for name, value in self._asdict().items()}


class Judge(abc.ABC):
    """Stores the scores of points and compares them.

    Args:
        score: The `Score`.
        result: Function of a dict of statistics that returns a `Predictive`.

    Attributes:
        num_rows: Integer, the rows that were scored.
    """

    def __init__(self, score: Score, result: Function) -> None:
        self._score = score
        self._result = result
        self._scores: dict[Point, float] = {}
        self.num_rows = 0

    def add(
        self, points: list[Point], swept: Swept, targets: Structure
    ) -> None:
        """Adds the predictions at several points."""
        if not self._scores:
            self.num_rows = len(tree.flatten(targets)[0])
            self._take_plain(swept.plain, targets)
        for number, point in enumerate(points):
            self._scores[point] = self._take(point, number, swept, targets)

    def knows(self, point: Point) -> bool:
        """Whether a point was evaluated."""
        return point in self._scores

    def forget_all_but(self, points: set[Point]) -> None:
        """Drops the results of other points."""
        for point in set(self._scores) - points:
            del self._scores[point]
            self._drop(point)

    def best(self, points: list[Point]) -> Point:
        """The first of the points with the best score.

        Raises:
            Refusal: If the score is not finite at any point.
        """
        values = np.array([self._scores[point] for point in points])
        signed = np.where(
            np.isfinite(values), self._score.sign * values, -np.inf
        )
        best = int(np.argmax(signed))
        if not np.isfinite(signed[best]):
            raise Refusal(
                f"the score '{self._score.name}' is finite at none of the "
                "rates. Choose other rates, or another score: a "
                "log-likelihood is minus infinity where a target has the "
                f"probability 0. Received: scores {values.tolist()}"
            )
        return points[best]

    def columns(self, points: Iterable[Point], best: Point) -> Columns:
        """The scores of points, and how much worse than the best they are."""
        each = [
            self._column(point, best)
            if self.knows(point)
            else (math.nan,) * len(Columns._fields)
            for point in points
        ]
        return Columns(*np.array(each, "float64").T)

    def _shortfall(self, point: Point, best: Point) -> float:
        # This avoids -0.
        difference = self._scores[best] - self._scores[point]
        return self._score.sign * difference + 0.0

    @abc.abstractmethod
    def _take_plain(self, plain: Config, targets: Structure) -> None:
        """Adds the statistics of weight scaling."""

    @abc.abstractmethod
    def _take(
        self, point: Point, number: int, swept: Swept, targets: Structure
    ) -> float:
        """Adds the predictions at a point and returns its score."""

    @abc.abstractmethod
    def _drop(self, point: Point) -> None:
        """Forgets a point."""

    @abc.abstractmethod
    def _column(self, point: Point, best: Point) -> tuple[float, ...]:
        """The numbers of a known point, in the order of `Columns`."""

    @abc.abstractmethod
    def gain(self, best: Point) -> Gain:
        """The gain of the best point over weight scaling."""


class _OfRows(Judge):
    """Judges by a score that is a mean over rows.

    Each row has its own masks. Differences between scores of rows are due to
    both the rows and the samples, and the errors include both.
    """

    def __init__(self, score: Score, result: Function) -> None:
        super().__init__(score, result)
        self._each: dict[Point, Array] = {}
        self._errors: dict[Point, float] = {}

    def _take_plain(self, plain: Config, targets: Structure) -> None:
        self._plain = self._score.rows(targets, self._result(plain))

    def _take(
        self, point: Point, number: int, swept: Swept, targets: Structure
    ) -> float:
        score, rows = self._score, swept.rows_again
        each = score.rows(targets, self._result(swept.at_rates[number]))
        some = tree.map_structure(lambda array: array[rows], targets)
        again = score.rows(some, self._result(swept.again[number]))
        with np.errstate(invalid="ignore"):  # from infinite scores
            square = np.square(each[rows] - again).mean()
            # The difference of two draws has twice the variance of one.
            self._errors[point] = math.sqrt(0.5 * square / len(each))
        self._each[point] = each
        return float(each.mean())

    def _drop(self, point: Point) -> None:
        del self._each[point], self._errors[point]

    def _column(self, point: Point, best: Point) -> tuple[float, ...]:
        with np.errstate(invalid="ignore"):
            worse = self._each[best] - self._each[point]
            return (
                self._scores[point],
                self._errors[point],
                self._shortfall(point, best),
                _standard_error(worse),
            )

    def gain(self, best: Point) -> Gain:
        with np.errstate(invalid="ignore"):
            gains = self._score.sign * (self._each[best] - self._plain)
            return Gain(
                float(self._plain.mean()),
                float(gains.mean()),
                _standard_error(gains),
            )


class _OfWhole(Judge):
    """Judges by a score of all rows, with errors from a bootstrap over rows.

    Args:
        score, result: As for `Judge`.
        seed: Integer, the seed by which rows are resampled.
        of_plain: Function of targets and a `Predictive` that returns whether
            weight scaling can be scored.
    """

    def __init__(
        self, score: Score, result: Function, seed: int, of_plain: Function
    ) -> None:
        super().__init__(score, result)
        self._seed = seed
        self._of_plain = of_plain
        self._results: dict[Point, Predictive] = {}
        # The scores of the resampled rows, from the same sets for each point.
        self._resampled: dict[Point, Array] = {}

    def _take_plain(self, plain: Config, targets: Structure) -> None:
        self._targets = targets
        self._plain: Predictive | None = self._result(plain)

    def _take(
        self, point: Point, number: int, swept: Swept, targets: Structure
    ) -> float:
        result = self._result(swept.at_rates[number])
        value = self._score.whole(targets, result)
        self._results[point] = result
        return value

    def _drop(self, point: Point) -> None:
        del self._results[point]
        self._resampled.pop(point, None)

    def _column(self, point: Point, best: Point) -> tuple[float, ...]:
        return (
            self._scores[point],
            math.nan,
            self._shortfall(point, best),
            self._error(self._bootstrap(point), best),
        )

    def _error(self, values: Array, best: Point) -> float:
        with np.errstate(invalid="ignore"):
            return float(np.std(self._bootstrap(best) - values, ddof=1))

    def _bootstrap(self, point: Point) -> Array:
        if point not in self._resampled:
            self._resampled[point] = self._resample(self._results[point])
        return self._resampled[point]

    def _resample(self, result: Predictive) -> Array:
        generator = np.random.default_rng(self._seed)
        values = []
        for _ in range(_RESAMPLES):
            rows = generator.integers(self.num_rows, size=self.num_rows)
            some = tree.map_structure(
                functools.partial(_taken, rows), self._targets
            )
            values.append(self._score.whole(some, result[rows]))
        return np.array(values)

    def gain(self, best: Point) -> Gain:
        plain = self._plain
        if plain is None or not self._of_plain(self._targets, plain):
            return Gain(math.nan, math.nan, math.nan)
        value = self._score.whole(self._targets, plain)
        gain = self._score.sign * (self._scores[best] - value) + 0.0
        return Gain(value, gain, self._error(self._resample(plain), best))


def judge_of(
    score: Score, result: Function, seed: int, of_plain: Function
) -> Judge:
    """Returns the `Judge` for a score; `_OfWhole` uses the last arguments."""
    if score.of_rows:
        return _OfRows(score, result)
    return _OfWhole(score, result, seed, of_plain)


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _taken(rows: Array, array: Array) -> Array:
    return array[rows]


def finite(value: float) -> float | None:
    """A number, or None if it is not finite."""
    return float(value) if math.isfinite(value) else None
