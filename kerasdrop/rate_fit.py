"""What `fit_rates` returns."""

import dataclasses
import json
import math

import keras

from kerasdrop import rates as rates_
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Config
from kerasdrop._types import Given

__all__ = ["RateFit"]

_FORMAT = "kerasdrop.rate_fit"
_VERSION = 1

# So many standard errors tell two scores apart.
_ERRORS = 2.0


@dataclasses.dataclass(frozen=True)
class RateFit:
    """The inference rates that score best on validation data.

    Scores are means over the rows. What is not known, or not finite, is None.

    Attributes:
        rates: Dict from the path of each fitted layer to its best rate, for
            `mc_predict(model, x, rate=fit.rates)`. Layers that were not
            fitted draw at rates of their own there; to leave them out, as
            the fit did, pass `layers=list(fit.rates)` as well.
        grid: Tuple of the rates that were tried, increasing.
        scores: Tuple, the score at each of them.
        monte_carlo_errors: Tuple, the standard error of each score that is
            due to the finite number of samples: draws with another seed
            would move it by about as much. It is measured on a part of the
            rows, and None for scores that are no mean over rows.
        shortfalls: Tuple, how much worse each score is than the best, at
            least 0.
        shortfall_errors: Tuple, the standard errors of the shortfalls, paired
            over the rows: due to the rows and to the samples.
        weight_scaling: The score of `model.predict`, without sampling.
        gain: How much better the best score is than that of weight scaling;
            below 0 if it is worse.
        gain_error: The standard error of the gain, paired over the rows.
        score: String, the name of the score.
        direction: `"highest"` or `"lowest"`, which scores are best.
        num_rows: Integer, the rows that were scored.
        num_samples: Integer, samples per row.
        seed: Integer, of the samples.
        is_complete: Whether all rows were scored: not after Ctrl-C.

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

    @property
    def rate(self) -> float:
        """The best rate."""
        return self.grid[self._best]

    @property
    def best_score(self) -> float | None:
        """The score at the best rate."""
        return self.scores[self._best]

    @property
    def equivalent(self) -> tuple[float, ...]:
        """The rates that cannot be told from the best one, with it.

        Their shortfalls are at most 2 standard errors.
        """
        return tuple(
            rate
            for rate, shortfall, error in zip(
                self.grid, self.shortfalls, self.shortfall_errors
            )
            if shortfall is not None and shortfall <= _ERRORS * (error or 0.0)
        )

    @property
    def is_at_end(self) -> bool:
        """Whether the best rate is the first or the last of the grid."""
        return self._best in (0, len(self.grid) - 1)

    @property
    def helps(self) -> bool | None:
        """Whether sampling scores better than `model.predict`.

        By more than 2 standard errors; None if that is not known.
        """
        if self.gain is None or self.gain_error is None:
            return None
        return self.gain > _ERRORS * self.gain_error

    @property
    def _best(self) -> int:
        return self.shortfalls.index(0.0)

    def apply(self, model: keras.Model) -> None:
        """Sets the rates of the layers of a model, as `set_rates` does.

        Args:
            model: A model whose layers are of kerasdrop.

        Raises:
            ValueError: If a layer is not there, or its rate cannot be set.
        """
        with blame("RateFit.apply"):
            rates_.assign(rates_.assignments(model, self.rates))

    def to_json(self) -> str:
        """All of it as JSON of finite numbers, which `from_json` reads."""
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "config": dataclasses.asdict(self),
        }
        return json.dumps(content, allow_nan=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "RateFit":
        """The fit that `to_json` wrote.

        Args:
            text: String.

        Raises:
            ValueError: If the text is not of `to_json`, is of a later version,
                or holds numbers that are not finite.
        """
        with blame("RateFit.from_json"):
            fields = _fields(text)
            fit = cls(**{name: _frozen(fields[name]) for name in fields})
            fit._check()
            return fit

    def _check(self) -> None:
        """Raises if what was read contradicts itself."""
        columns = (
            self.scores,
            self.monte_carlo_errors,
            self.shortfalls,
            self.shortfall_errors,
        )
        are_tuples = all(
            isinstance(one, tuple) for one in (self.grid, *columns)
        )
        if not are_tuples or not isinstance(self.rates, dict):
            raise Refusal(
                "the text must hold lists of numbers, and a dict of rates. "
                f"Received: rates={self.rates!r:.80}, grid={self.grid!r:.80}"
            )
        if None in self.grid or None in self.rates.values():
            raise Refusal(
                "each rate must be a number. Received: "
                f"rates={self.rates!r:.80}, grid={self.grid!r:.80}"
            )
        numbers = [
            *self.grid,
            *self.rates.values(),
            *(one for column in columns for one in column),
            self.weight_scaling,
            self.gain,
            self.gain_error,
        ]
        fits = all(len(column) == len(self.grid) for column in columns)
        if not fits or not all(map(_is_finite_or_none, numbers)):
            raise Refusal(
                "the text must hold finite numbers, one of each column for "
                "each rate of the grid. Received: columns of "
                f"{[len(column) for column in columns]} numbers for "
                f"{len(self.grid)} rates, or others than numbers"
            )
        if 0.0 not in self.shortfalls:
            raise Refusal(
                "one of the rates must be the best, with a shortfall of 0. "
                f"Received: shortfalls={self.shortfalls}"
            )

    def __str__(self) -> str:
        best, error = self.best_score, self.monte_carlo_errors[self._best]
        drawn = "" if error is None else f" (Monte Carlo error {error:.2g})"
        others = ", ".join(
            f"{rate:g}" for rate in self.equivalent if rate != self.rate
        )
        rows = f"{self.num_rows} rows"
        if not self.is_complete:
            rows = f"the first {rows}, where it was interrupted"
        lines = [
            f"Rate {self.rate:g} has the {self.direction} {self.score} on "
            f"{rows}: {best:.6g}{drawn}.",
            f"Rates that cannot be told from it: {others or 'none'}.",
        ]
        if self.is_at_end and 0.0 < self.rate < 1.0:
            lines.append(
                "It is at an end of the grid: the best rate may be beyond."
            )
        return "\n".join([*lines, self._verdict()])

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


def _fields(text: str) -> Config:
    """What the constructor takes, from JSON, or an error."""
    try:
        content = json.loads(text)
    except (TypeError, ValueError) as error:
        raise Refusal(
            f"the text must be JSON that `to_json` wrote. Received: {error}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise Refusal(
            f"the text must be of `to_json`, with format '{_FORMAT}'. "
            f"Received: {text[:60]!r}"
        )
    if content.get("version") != _VERSION:
        raise Refusal(
            f"this kerasdrop reads version {_VERSION} of fitted rates. Update "
            f"it, or fit anew. Received: version={content.get('version')!r}"
        )
    fields = content.get("config")
    names = [field.name for field in dataclasses.fields(RateFit)]
    if not isinstance(fields, dict) or sorted(fields) != sorted(names):
        raise Refusal(
            f"the text must hold the attributes of a RateFit, "
            f"{', '.join(names)}. Received: {fields!r:.80}"
        )
    return fields


def _frozen(value: Given) -> Given:
    return tuple(value) if isinstance(value, list) else value


def _is_finite_or_none(value: Given) -> bool:
    if value is None:
        return True
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
