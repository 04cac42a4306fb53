"""The result of `fit_rates`."""

import dataclasses
import json

import keras

from kerasdrop import rates as rates_
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop.rate_fit import curve
from kerasdrop.rate_fit import reading
from kerasdrop.rate_fit.curve import RateCurve


@dataclasses.dataclass(frozen=True)
class RateFit:
    """The inference rates that score best on validation data.

    Scores are means over the rows. Values that are unknown or not finite are
    None.

    Attributes:
        rates: Dict from the path of each fitted layer to its best rate, for
            `mc_predict(model, x, rate=fit.rates)`. Layers that were not fitted
            draw at their own rates in such a call; to leave them out, as the
            fit did, pass `layers=list(fit.rates)` as well.
        grid: Tuple of the rates that were tried, increasing.
        scores: Tuple, the score if all fitted layers have that rate.
        monte_carlo_errors: Tuple, the standard error of each score due to the
            finite number of samples: with another seed, the score would
            change by about this much. It is estimated on a part of the rows,
            and is None for scores that are not a mean over rows.
        shortfalls: Tuple, how much worse each score is than the best, at
            least 0.
        shortfall_errors: Tuple, the standard errors of the shortfalls, paired
            over the rows: due to the rows and to the samples.
        weight_scaling: The score of `model.predict`, without sampling.
        gain: How much better the best score is than that of weight scaling;
            below 0 if it is worse.
        gain_error: The standard error of the gain, paired over the rows.
        score: String, the name of the score.
        direction: `"highest"` or `"lowest"`: which scores are best.
        num_rows: Integer, the number of rows that were scored.
        num_samples: Integer, the number of samples per row.
        seed: Integer, the seed of the samples.
        is_complete: Boolean, whether all rows were scored; False after Ctrl-C.
        groups: Dict from the name of each group of layers to its `RateCurve`,
            along which the other groups have their best rates. It is empty if
            all layers have one rate. With groups, `scores` and `shortfalls`
            are those of one common rate, compared with the best rates of the
            groups.
        num_sweeps: Integer, how often the search went through the groups.
        has_converged: Boolean, whether the search ended because no other rate
            of a single group is better; False if Ctrl-C or `max_sweeps` ended
            it.

    Example:

    >>> fit = fit_rates(model, x, y, seed=0, verbose=0)
    >>> RateFit.from_json(fit.to_json()) == fit
    True
    """

    rates: dict[str, float]
    grid: tuple[float, ...]
    scores: tuple[float | None, ...]
    monte_carlo_errors: tuple[float | None, ...]
    shortfalls: tuple[float | None, ...]
    shortfall_errors: tuple[float | None, ...]
    weight_scaling: float | None
    gain: float | None
    gain_error: float | None
    score: str
    direction: str
    num_rows: int
    num_samples: int
    seed: int
    is_complete: bool = True
    groups: dict[str, RateCurve] = dataclasses.field(default_factory=dict)
    num_sweeps: int = 0
    has_converged: bool = True

    @property
    def rate(self) -> float:
        """The best rate.

        Raises:
            ValueError: If each group of layers has its own rate.
        """
        if self.groups:
            with blame("RateFit.rate"):
                raise Refusal(
                    "groups have a rate each. Read `rates`, or the `rate` of "
                    f"each of `groups`. Received: {_listed(self.groups)}"
                )
        return self._best.rate

    @property
    def best_score(self) -> float | None:
        """The score at the best rates."""
        return self._best.best_score

    @property
    def equivalent(self) -> tuple[float, ...]:
        """The best rate, and the rates that are indistinguishable from it.

        Their shortfalls are at most 2 standard errors. With groups, these are
        the common rates that are indistinguishable from the best rates of the
        groups; there may be none. The curve of each group has the rates that
        are indistinguishable from the best rate of that group.
        """
        return curve.equivalent(
            self.grid, self.shortfalls, self.shortfall_errors
        )

    @property
    def is_at_end(self) -> bool:
        """Whether the best rate, or one of them, is at an end of the grid."""
        curves = self.groups.values() if self.groups else [self._best]
        return any(one.is_at_end for one in curves)

    @property
    def helps(self) -> bool | None:
        """Whether sampling scores better than `model.predict`.

        It must be better by more than 2 standard errors. None if this is not
        known.
        """
        if self.gain is None or self.gain_error is None:
            return None
        return self.gain > curve.ERRORS * self.gain_error

    @property
    def _best(self) -> RateCurve:
        """A curve that the best score is on."""
        if self.groups:
            return next(iter(self.groups.values()))
        return RateCurve(
            tuple(self.rates),
            self.grid,
            self.scores,
            self.monte_carlo_errors,
            self.shortfalls,
            self.shortfall_errors,
        )

    def apply(self, model: keras.Model) -> None:
        """Sets the rates of the layers of a model, as `set_rates` does.

        Args:
            model: A model with kerasdrop layers.

        Raises:
            ValueError: If a layer is missing, or its rate cannot be set.
        """
        with blame("RateFit.apply"):
            rates_.assign(rates_.assignments(model, self.rates))

    def to_json(self) -> str:
        """The fit as JSON with finite numbers, which `from_json` reads."""
        content = reading.enveloped(dataclasses.asdict(self))
        return json.dumps(content, allow_nan=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "RateFit":
        """The fit that `to_json` wrote, of this version or an earlier one.

        Args:
            text: String that `to_json` returned.

        Raises:
            ValueError: If the text is not from `to_json`, is from a later
                version, or contains numbers that are not finite.
        """
        with blame("RateFit.from_json"):
            names = [field.name for field in dataclasses.fields(cls)]
            return cls(**reading.fields(text, names))

    def __str__(self) -> str:
        best, error = self.best_score, self._best.monte_carlo_error
        drawn = "" if error is None else f" (Monte Carlo error {error:.2g})"
        rows = f"{self.num_rows} rows"
        if not self.is_complete:
            rows = f"the first {rows}, where it was interrupted"
        found = (
            f"the {self.direction} {self.score} on {rows}: {best:.6g}{drawn}."
        )
        if self.groups:
            lines = [f"These rates have {found}", *self._of_groups()]
        else:
            lines = [
                f"Rate {self.rate:g} has {found}",
                f"Rates that cannot be told from it: {_others(self._best)}.",
            ]
            if self.is_at_end and 0.0 < self.rate < 1.0:
                lines.append(
                    "It is at an end of the grid: the best rate may be beyond."
                )
        return "\n".join([*lines, self._verdict()])

    def _of_groups(self) -> list[str]:
        """Sentences on the groups, and on one rate for all of them."""
        lines = []
        for name, one in self.groups.items():
            end = ""
            if one.is_at_end and 0.0 < one.rate < 1.0:
                end = "; it is at an end of the grid"
            others = _others(one)
            lines.append(
                f"  {name}: {one.rate:g} (not told from it: {others}{end})"
            )
        if not self.has_converged:
            lines.append(
                f"The search stopped in sweep {self.num_sweeps or 1}, before "
                "it had converged: other rates may be better."
            )
        same = ", ".join(f"{rate:g}" for rate in self.equivalent)
        lines.append(
            f"One rate for all that cannot be told from them: {same}."
            if same
            else "No rate for all is as good."
        )
        return lines

    def _verdict(self) -> str:
        """A sentence: whether dropout helps."""
        if self.weight_scaling is None:
            return (
                "Whether dropout helps is not known: weight scaling has no "
                "finite score."
            )
        if self.gain is None or self.gain_error is None:
            return f"Weight scaling (`predict`) has {self.weight_scaling:.6g}."
        verdict = "helps" if self.helps else "does not help beyond its error"
        return (
            f"Dropout {verdict}: weight scaling (`predict`) has "
            f"{self.weight_scaling:.6g}, over which sampling gains "
            f"{self.gain:.2g} ± {self.gain_error:.2g}."
        )


def _others(one: RateCurve) -> str:
    others = [rate for rate in one.equivalent if rate != one.rate]
    return ", ".join(f"{rate:g}" for rate in others) or "none"


def _listed(groups: dict[str, RateCurve]) -> str:
    return ", ".join(f"{name} at {one.rate:g}" for name, one in groups.items())
