"""Searches for the best rates: a common one first, then group by group."""

import itertools
import warnings
from typing import NamedTuple

from kerasdrop._types import Function
from kerasdrop.montecarlo.rate_fitting.comparison import Judge
from kerasdrop.montecarlo.rate_fitting.groups import Groups
from kerasdrop.montecarlo.rate_fitting.groups import Point

_STACKLEVEL = 3  # from a warning below to the caller of `fit_rates`


class Found(NamedTuple):
    """The end of a search.

    Attributes:
        best: The point that scores best.
        num_sweeps: Integer, how often it went through all groups.
        has_converged: Whether no change of a single group scores better.
    """

    best: Point
    num_sweeps: int
    has_converged: bool


def found(
    groups: Groups,
    grid: list[float],
    judge: Judge,
    evaluate: Function,
    max_sweeps: int,
    on_interrupt: str,
    say: Function,
) -> Found:
    """Searches along one group after another, from the best common rate.

    The search moves whenever another rate of a group scores better. All points
    have common masks, so it never returns to a point, and ends.

    Args:
        groups: The `Groups`.
        grid: The rates to try for each group.
        judge: The `Judge`, which has the scores of the evaluated points.
        evaluate: Function of points that adds them to the judge, and returns
            whether all rows were scored.
        max_sweeps: Integer, the most sweeps through all groups.
        on_interrupt: `"raise"` or `"return"`.
        say: Function that shows a string to the user.
    """
    common = [groups.common(rate) for rate in grid]
    is_whole = evaluate(common)
    best = judge.best(common)
    if groups.names is None:
        return Found(best, 0, True)
    if not is_whole:
        return Found(best, 0, False)
    say(f"The best rate for all is {best[0]:g}.")
    count = len(groups.names)
    unmoved = 0
    turn = 0
    while unmoved < count and turn < count * max_sweeps:
        group = turn % count
        line = groups.line(best, group, grid)
        try:
            evaluate([point for point in line if not judge.knows(point)])
        except KeyboardInterrupt:
            if on_interrupt == "raise":
                raise
            warnings.warn(
                f"Interrupted in sweep {turn // count + 1} through the "
                "groups. The fit is of what was tried before.",
                stacklevel=_STACKLEVEL,
            )
            break
        moved = judge.best([best, *line])
        unmoved = unmoved + 1 if moved == best else 1
        turn += 1
        best = moved
        say(f"Group '{groups.names[group]}': {best[group]:g}.")
        judge.forget_all_but(
            {*common, *itertools.chain(*_lines(groups, best, grid))}
        )
    if unmoved < count and turn == count * max_sweeps:
        warnings.warn(
            f"fit_rates: the search stopped after {max_sweeps} sweeps through "
            "the groups, before it had converged. Other rates may be better: "
            "pass a higher `max_sweeps`.",
            stacklevel=_STACKLEVEL,
        )
    return Found(best, -(-turn // count), unmoved == count)


def _lines(
    groups: Groups, point: Point, grid: list[float]
) -> list[list[Point]]:
    return [
        groups.line(point, group, grid) for group in range(len(groups.numbers))
    ]
