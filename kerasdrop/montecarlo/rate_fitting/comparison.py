"""What scores at several rates say about each other."""

import functools
import math
from typing import NamedTuple

import numpy as np
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.montecarlo.rate_fitting.scores import Score
from kerasdrop.montecarlo.rate_fitting.sweep import Swept

# Resampled sets of rows, for the errors of a score that is no mean over rows.
_RESAMPLES = 100


class Comparison(NamedTuple):
    """What a `RateFit` has of the scores; NaN or infinite where unknown.

    Attributes:
        scores, monte_carlo_errors, shortfalls, shortfall_errors: Arrays
            `(rates,)`.
        weight_scaling, gain, gain_error: Numbers.
    """

    scores: Array
    monte_carlo_errors: Array
    shortfalls: Array
    shortfall_errors: Array
    weight_scaling: float
    gain: float
    gain_error: float

    def fields(self) -> dict[str, Given]:
        """Arguments of a `RateFit`, with None for what is not finite."""
        return {
            name: tuple(map(_finite, value))
            if isinstance(value, np.ndarray)
            else _finite(value)
            for name, value in self._asdict().items()
        }


def of_rows(
    score: Score, targets: Structure, swept: Swept, result: Function
) -> Comparison:
    """The `Comparison` by a score that is a mean over rows.

    The rows have masks of their own: what their scores differ by is due to
    the rows and to the samples, and the errors have both.

    Args:
        score: The `Score`.
        targets: As the score takes them.
        swept: What was predicted.
        result: Function of a dict of statistics that returns a `Predictive`.
    """
    each = np.stack(
        [score.rows(targets, result(found)) for found in swept.at_rates]
    )
    plain = score.rows(targets, result(swept.plain))
    some = tree.map_structure(lambda array: array[swept.rows_again], targets)
    again = np.stack([score.rows(some, result(one)) for one in swept.again])
    num_rows = each.shape[1]
    with np.errstate(invalid="ignore"):  # of infinite scores
        means = each.mean(axis=1)
        best = _best(score, means)
        squares = np.square(each[:, swept.rows_again] - again).mean(axis=1)
        worse = score.sign * (each[best] - each)
        gains = score.sign * (each[best] - plain)
        return Comparison(
            means,
            # The difference of two draws has twice the variance of one.
            np.sqrt(0.5 * squares / num_rows),
            score.sign * (means[best] - means) + 0.0,
            worse.std(axis=1, ddof=1) / math.sqrt(num_rows),
            float(plain.mean()),
            float(gains.mean()),
            float(gains.std(ddof=1) / math.sqrt(num_rows)),
        )


def of_whole(
    score: Score,
    targets: Structure,
    swept: Swept,
    result: Function,
    seed: int,
    of_plain: Function,
) -> Comparison:
    """The `Comparison` by a score of all rows, with a bootstrap over rows.

    Args:
        score, targets, swept, result: As of `of_rows`.
        seed: Integer, by which rows are resampled.
        of_plain: Function that returns the result of weight scaling, or None.
    """
    results = [result(found) for found in swept.at_rates]
    count = len(results)
    values = np.array([score.whole(targets, one) for one in results])
    best = _best(score, values)
    plain = of_plain()
    if plain is not None:
        results.append(plain)
        values = np.append(values, score.whole(targets, plain))
    num_rows = len(tree.flatten(targets)[0])
    generator = np.random.default_rng(seed)
    better = []
    for _ in range(_RESAMPLES):
        rows = generator.integers(num_rows, size=num_rows)
        some = tree.map_structure(functools.partial(_taken, rows), targets)
        drawn = np.array([score.whole(some, one[rows]) for one in results])
        better.append(score.sign * (drawn[best] - drawn))
    with np.errstate(invalid="ignore"):
        errors = np.std(better, axis=0, ddof=1)
        shortfalls = score.sign * (values[best] - values) + 0.0
    is_known = plain is not None
    return Comparison(
        values[:count],
        np.full(count, np.nan),
        shortfalls[:count],
        errors[:count],
        values[-1] if is_known else math.nan,
        shortfalls[-1] if is_known else math.nan,
        errors[-1] if is_known else math.nan,
    )


def _best(score: Score, values: Array) -> int:
    directed = np.where(np.isfinite(values), score.sign * values, -np.inf)
    best = int(np.argmax(directed))
    if not np.isfinite(directed[best]):
        raise Refusal(
            f"the score '{score.name}' is finite at none of the rates. Choose "
            "other rates, or another score: a log-likelihood is minus "
            "infinity where a target has the probability 0. Received: scores "
            f"{values.tolist()}"
        )
    return best


def _taken(rows: Array, array: Array) -> Array:
    return array[rows]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
