"""The scores of predictions, for each row or for all rows together."""

import warnings
from typing import NamedTuple

import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _checks
from kerasdrop import calibration
from kerasdrop._formulas import target_shapes
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import TypeRefusal
from kerasdrop._types import Array
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop.predictive import Predictive

_DIRECTIONS = ("highest", "lowest")


class Score(NamedTuple):
    """A score, which should be as high or as low as possible.

    Attributes:
        name: String.
        direction: One of `_DIRECTIONS`.
        of_rows: Whether it is a mean over rows.
        function: Function of (targets, `Predictive`) that returns a number,
            or an array of the rows if it is a mean over them.
        statistics: Names of the statistics that it needs; None for all.
    """

    name: str
    direction: str
    of_rows: bool
    function: Function
    statistics: tuple[str, ...] | None = None

    @property
    def sign(self) -> float:
        """The sign that makes higher scores better."""
        return 1.0 if self.direction == "highest" else -1.0

    @property
    def needs_likelihood(self) -> bool:
        """Whether the engine needs the targets together with the inputs."""
        return self.statistics == ("log_likelihood",)

    def rows(self, targets: Structure, result: Predictive) -> Array:
        """The score of each row, float64 `(rows,)`."""
        each = np.asarray(self.function(targets, result), "float64")
        each = each.reshape(len(each), -1).mean(axis=-1)
        if np.isnan(each).any():
            raise Refusal(
                f"the score '{self.name}' of a row is NaN: its target is not a "
                "class, or the prediction is not a number. Received: NaN in "
                f"{np.isnan(each).sum()} of {len(each)} rows, first in row "
                f"{int(np.argmax(np.isnan(each)))}"
            )
        return each

    def whole(self, targets: Structure, result: Predictive) -> float:
        """The score of all rows together."""
        value = self.function(targets, result)
        if ops.is_tensor(value):
            value = ops.convert_to_numpy(value)
        value = np.asarray(value)
        if value.shape != () or value.dtype.kind not in "fiu":
            raise TypeRefusal(
                "argument `score` must be a function of (y, result), with a "
                "`Predictive`, that returns one number. Received: a value of "
                f"shape {value.shape} and type {value.dtype}"
            )
        return float(value)


def check(score: Given, direction: str | None) -> Score:
    """Returns the `Score` for arguments of `fit_rates`."""
    if callable(score):
        if direction is None:
            raise Refusal(
                "with a function as `score`, say whether the highest or the "
                "lowest is best: `direction='lowest'`. Received: "
                "direction=None"
            )
        _checks.choice(direction, _DIRECTIONS, "direction")
        name = getattr(score, "__name__", type(score).__name__)
        return Score(name, direction, False, score)
    if not isinstance(score, str) or score not in _SCORES:
        raise Refusal(
            f"argument `score` must be one of {', '.join(_SCORES)}, or a "
            f"function of (y, result). Received: score={score!r}"
        )
    found = _SCORES[score]
    if direction not in (None, found.direction):
        raise Refusal(
            f"the {found.direction} value of '{score}' is best. Leave "
            f"`direction` out. Received: direction={direction!r}"
        )
    if score == "calibration_error":
        warnings.warn(
            "fit_rates: the calibration error is not a proper score. It is 0 "
            "for a model that predicts the frequency of each class, whatever "
            "the inputs are. Choose by 'log_likelihood' or 'brier', and look "
            "at the calibration afterwards.",
            stacklevel=3,
        )
    return found


def _log_likelihood(targets: Structure, result: Predictive) -> Array:
    return _one_output(result, "log_likelihood")


def _crps(targets: Structure, result: Predictive) -> Array:
    _check_kind(result, "crps", numbers=True)
    mean = _one_output(result, "mean").astype("float64")
    name = "total_variance" if "total_variance" in result else "variance"
    variance = _one_output(result, name).astype("float64")
    targets = target_shapes.like(targets, mean, "targets, a number each")
    is_certain = variance == 0.0
    return np.where(
        is_certain,
        np.abs(targets - mean),
        calibration.gaussian_crps(
            targets, mean, np.where(is_certain, 1.0, variance), reduction=None
        ),
    )


def _brier(targets: Structure, result: Predictive) -> Array:
    return calibration.brier_score(
        *_classes(targets, result, "brier"), reduction=None
    )


def _calibration_error(targets: Structure, result: Predictive) -> float:
    return calibration.expected_calibration_error(
        *_classes(targets, result, "calibration_error")
    )


_MOMENTS = ("mean", "variance", "total_variance", "predictive_entropy")
_SCORES = {
    score.name: score
    for score in (
        Score(
            "log_likelihood",
            "highest",
            True,
            _log_likelihood,
            ("log_likelihood",),
        ),
        Score("crps", "lowest", True, _crps, _MOMENTS),
        Score("brier", "lowest", True, _brier, _MOMENTS),
        Score(
            "calibration_error", "lowest", False, _calibration_error, _MOMENTS
        ),
    )
}


def _classes(
    targets: Structure, result: Predictive, name: str
) -> tuple[Given, Array]:
    """Targets, and the probabilities of classes along a last axis."""
    _check_kind(result, name, numbers=False)
    mean = _one_output(result, "mean")
    if result.kind != "binary":
        return targets, mean
    # Each element is the probability of the positive class.
    targets = target_shapes.like(targets, mean, "targets, 0 or 1 each")
    return np.asarray(targets).astype("int64"), mean[..., None]


def _check_kind(result: Predictive, name: str, numbers: bool) -> None:
    is_of_numbers = "predictive_entropy" not in result
    if is_of_numbers != numbers:
        wanted = "numbers" if numbers else "classes"
        raise Refusal(
            f"the score '{name}' is for outputs that are {wanted}. Choose "
            "another score, or pass the actual `kind`. Received: "
            f"score={name!r} with kind={result.kind!r}"
        )


def _one_output(result: Predictive, name: str) -> Array:
    value = result[name]
    if not isinstance(value, np.ndarray):
        raise Refusal(
            "a score by name is for a model with one output. Pass a function "
            "of (y, result) as `score`, and its `direction`. Received: "
            f"{len(tree.flatten(value))} outputs"
        )
    return value
