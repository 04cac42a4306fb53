"""Passes over validation data, each at several points."""

import functools
import warnings

import keras
import numpy as np
from keras import tree

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.montecarlo import choice
from kerasdrop.montecarlo.engine.batches import Batches
from kerasdrop.montecarlo.engine.batches import RowsOf
from kerasdrop.montecarlo.rate_fitting import comparison
from kerasdrop.montecarlo.rate_fitting import scores
from kerasdrop.montecarlo.rate_fitting import sweep
from kerasdrop.montecarlo.rate_fitting.groups import Groups
from kerasdrop.montecarlo.rate_fitting.groups import Point
from kerasdrop.predictive import Predictive


class Passes:
    """Predicts at several rates, in successive passes over the same data.

    Attributes:
        judge: The `comparison.Judge`.
        is_complete: Whether all rows were scored.
    """

    def __init__(
        self,
        predictive: keras.Model,
        groups: Groups,
        wanted: scores.Score,
        most: int,
        verbose: int,
        on_interrupt: str,
    ) -> None:
        self.predictive = predictive
        self.groups = groups
        self.wanted = wanted
        self.is_complete = True
        self.seed = predictive.seed
        self._most = most
        self._verbose = verbose
        self._on_interrupt = on_interrupt
        self._targets: Structure = None
        self.judge = comparison.judge_of(
            wanted,
            self._result,
            self.seed,
            functools.partial(_can_be_scored, wanted),
        )

    def _result(self, statistics: Config) -> Predictive:
        settings = self.predictive._settings
        return Predictive(
            statistics,
            settings.num_samples,
            self.seed,
            settings.plan,
            settings.kind,
        )

    def evaluate(
        self,
        middle: choice.Choice,
        x: Given,
        y: Given,
        batch_size: int,
        points: list[Point],
    ) -> bool:
        """Adds points to the judge; returns whether all rows were scored.

        Args:
            middle: The `choice.Choice` that represents all points in a check.
            x, y, batch_size: As for `fit_rates`.
            points: List.
        """
        if not points:
            return True
        is_first = self._targets is None
        data = _batches(self.predictive, middle, self.wanted, x, y, batch_size)
        swept = sweep.over(
            self.predictive,
            self.predictive._engine,
            data,
            np.stack([self.groups.at(point).vector() for point in points]),
            self._most,
            self.wanted,
            functools.partial(_set_seed, self.predictive, self.seed),
            self._verbose,
            # A part of a later pass is of no use.
            self._on_interrupt if is_first else "raise",
        )
        targets = _targets(swept)
        if is_first:
            self._targets = targets
            self.is_complete = swept.is_complete
        _check_rows(self._targets, targets)
        self.judge.add(points, swept, targets)
        return swept.is_complete


def _set_seed(predictive: keras.Model, seed: int, is_other: bool) -> None:
    # Any other seed gives other masks.
    predictive.seed = seed ^ 1 if is_other else seed


def _batches(
    predictive: keras.Model,
    middle: choice.Choice,
    wanted: scores.Score,
    x: Given,
    y: Given,
    batch_size: int,
) -> Batches:
    """The data in batches; the engine gets the targets if it needs them."""
    predictive._choose(middle)
    predictive._asked = middle.asked()

    def most_rows(rows: RowsOf, wanted_rows: int) -> int | None:
        if not wanted.needs_likelihood:
            rows = rows._replace(targets=None)
        return predictive._engine.most_rows(rows, wanted_rows)

    return Batches(
        x,
        _checks.positive_integer(batch_size, "batch_size"),
        most_rows,
        0,
        y=y,
        fills=predictive.vectorized,
    )


def _targets(swept: sweep.Swept) -> Structure:
    """The targets of the scored rows, in the form that a score takes."""
    flat = tree.flatten(swept.targets)
    return flat[0] if len(flat) == 1 else swept.targets


def _check_rows(first: Structure, targets: Structure) -> None:
    """Raises if rows cannot be compared, or differ from the first pass."""
    num_rows = len(tree.flatten(targets)[0])
    if num_rows < 2:
        raise Refusal(
            "scores are compared over rows: pass at least two, and better "
            f"some hundred. Received: {num_rows} row"
        )
    pairs = zip(tree.flatten(first), tree.flatten(targets))
    if not all(map(_are_equal, *zip(*pairs))):
        raise Refusal(
            "groups are searched in several passes over the data, which must "
            "yield the same rows in the same order each time. Turn shuffling "
            "off. Received: batches whose targets differ from those of the "
            "first pass"
        )


def _are_equal(one: Array, other: Array) -> bool:
    # NaN equals NaN here.
    return one.tobytes() == other.tobytes()


def _can_be_scored(
    wanted: scores.Score, targets: Structure, plain: Predictive
) -> bool:
    """Whether a function can score the result of weight scaling."""
    try:
        wanted.whole(targets, plain)
    except Exception as error:  # a user's function may raise anything
        warnings.warn(
            f"fit_rates: the score '{wanted.name}' of weight scaling, whose "
            f"variance is 0, is not known: {error}",
            stacklevel=5,  # the caller of `fit_rates`
        )
        return False
    return True
