"""The scores at several rates, and which rate is best."""

import dataclasses

# The number of standard errors that distinguishes two scores.
ERRORS = 2.0


@dataclasses.dataclass(frozen=True)
class RateCurve:
    """The scores at each rate of a group of layers.

    Meanwhile the other groups have their best rates. Scores are means over the
    rows. Values that are unknown or not finite are None.

    Attributes:
        layers: Tuple of the paths of the layers.
        grid: Tuple of the rates, increasing.
        scores: Tuple, the score at each of them.
        monte_carlo_errors: Tuple, the standard error of each score due to the
            finite number of samples.
        shortfalls: Tuple, how much worse each score is than the best, at
            least 0.
        shortfall_errors: Tuple, the standard errors of the shortfalls, paired
            over the rows: due to the rows and to the samples.

    Example:

    >>> two = keras.Sequential(
    ...     [
    ...         keras.Input((4,)),
    ...         layers.Dropout(0.1, name="first"),
    ...         keras.layers.Dense(8, activation="relu"),
    ...         layers.Dropout(0.5, name="last"),
    ...         keras.layers.Dense(3, activation="softmax"),
    ...     ]
    ... )
    >>> groups = {"inputs": "first", "head": "last"}
    >>> fit = fit_rates(two, x, y, groups=groups, rates=[0.1, 0.4], verbose=0)
    >>> curve = fit.groups["head"]
    >>> curve.rate in curve.equivalent, curve.layers, list(fit.rates)
    (True, ('last',), ['first', 'last'])
    """

    layers: tuple[str, ...]
    grid: tuple[float, ...]
    scores: tuple[float | None, ...]
    monte_carlo_errors: tuple[float | None, ...]
    shortfalls: tuple[float | None, ...]
    shortfall_errors: tuple[float | None, ...]

    @property
    def rate(self) -> float:
        """The best rate of the group."""
        return self.grid[self.shortfalls.index(0.0)]

    @property
    def best_score(self) -> float | None:
        """The score at the best rate."""
        return self.scores[self.shortfalls.index(0.0)]

    @property
    def monte_carlo_error(self) -> float | None:
        """The standard error of the best score due to the samples."""
        return self.monte_carlo_errors[self.shortfalls.index(0.0)]

    @property
    def equivalent(self) -> tuple[float, ...]:
        """The best rate, and the rates that are indistinguishable from it.

        Their shortfalls are at most 2 standard errors.
        """
        return equivalent(self.grid, self.shortfalls, self.shortfall_errors)

    @property
    def is_at_end(self) -> bool:
        """Whether the best rate is the first or the last of the grid."""
        return self.rate in (self.grid[0], self.grid[-1])


def equivalent(
    grid: tuple[float, ...],
    shortfalls: tuple[float | None, ...],
    errors: tuple[float | None, ...],
) -> tuple[float, ...]:
    """The rates whose shortfalls are at most 2 standard errors."""
    return tuple(
        rate
        for rate, shortfall, error in zip(grid, shortfalls, errors)
        if shortfall is not None and shortfall <= ERRORS * (error or 0.0)
    )
