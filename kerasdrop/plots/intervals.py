"""A plot of intervals over one input."""

import numpy as np

from kerasdrop import _checks
from kerasdrop import calibration
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.plots import drawing

# The steps of a float32 grid may differ by this fraction of their mean.
_UNEVEN = 0.01


@blame("predictive_intervals")
def predictive_intervals(
    x: ArrayLike,
    mean: Tensor,
    variance: Tensor,
    levels: tuple[float, ...] = (0.5, 0.9),
    ax: Given = None,
    style: str = "auto",
) -> Given:
    """The mean and central intervals of normals, against one input.

    A line with bands is for a curve, which has one value at each `x`. The rows
    of a table differ in more than one column. A line through them would zigzag,
    so they are drawn as points with error bars.

    Args:
        x: `(rows,)`, in any order.
        mean, variance: `(rows,)` or `(rows, 1)`, e.g. `result.mean` and
            `result.total_variance`.
        levels: Floats in (0, 1), the probabilities of the intervals.
        ax: Matplotlib axes; None for those of a new figure.
        style: `"band"`; `"points"`; or `"auto"`, which draws bands if the
            values of `x` are evenly spaced, like a grid, and points otherwise.

    Returns:
        The axes.

    Raises:
        ValueError: If the shapes do not agree, a variance is below 0, or a
            level is out of its range; if `x` is not finite; if `style` is none
            of these.
        ImportError: If matplotlib is not installed.

    Example:

    >>> inputs = np.linspace(0.0, 1.0, 20)
    >>> ax = predictive_intervals(inputs, mean=inputs**2, variance=0.1 * inputs)
    >>> legend = ax.legend()
    """
    x, mean, variance = (
        drawing.column(name, value)
        for name, value in (("x", x), ("mean", mean), ("variance", variance))
    )
    if not len(x) == len(mean) == len(variance):
        raise ValueError(
            "predictive_intervals: `x`, `mean` and `variance` must have the "
            f"same number of rows. Received: {len(x)}, {len(mean)} and "
            f"{len(variance)}"
        )
    if not np.isfinite(x).all():
        raise Refusal(f"argument `x` must hold finite numbers. Received: {x}")
    _check_levels(levels)
    _checks.choice(style, ("auto", "band", "points"), "style")
    order = np.argsort(x, kind="stable")
    x, mean, variance = x[order], mean[order], variance[order]
    bands = [
        (level, calibration.gaussian_interval(mean, variance, level))
        for level in levels
    ]
    ax = drawing.axes(ax)
    if style == "band" or (style == "auto" and _is_grid(x)):
        _draw_bands(ax, x, mean, bands)
    else:
        _draw_points(ax, x, mean, bands)
    ax.set(xlabel="x", ylabel="y")
    return ax


def _check_levels(levels: Given) -> None:
    is_legal = isinstance(levels, (tuple, list)) and all(
        _checks.is_number(level) and 0.0 < level < 1.0 for level in levels
    )
    if not is_legal:
        raise Refusal(
            "argument `levels` must be probabilities between 0 and 1, e.g. "
            "(0.5, 0.9): the intervals are those of normals with `variance`. "
            "To draw intervals that you already have, such as conformal ones, "
            "use Matplotlib's `ax.vlines(x, lower, upper)`. Received: "
            f"levels={levels!r}"
        )


def _is_grid(x: Array) -> bool:
    """Whether sorted numbers are evenly spaced, apart from rounding."""
    steps = np.diff(x)
    if not steps.size or steps.min() <= 0.0:
        return False
    return bool(steps.max() - steps.min() <= _UNEVEN * steps.mean())


def _draw_bands(ax: Given, x: Array, mean: Array, bands: Given) -> None:
    (line,) = ax.plot(x, mean, label="mean")
    for level, (lower, upper) in bands:
        ax.fill_between(
            x,
            lower,
            upper,
            color=line.get_color(),
            alpha=0.2,
            linewidth=0,
            label=f"{level:.0%}",
        )


def _draw_points(ax: Given, x: Array, mean: Array, bands: Given) -> None:
    (points,) = ax.plot(x, mean, "o", markersize=3, label="mean", zorder=3)
    widest_first = sorted((level for level, _ in bands), reverse=True)
    for level, (lower, upper) in bands:
        ax.vlines(
            x,
            lower,
            upper,
            color=points.get_color(),
            alpha=0.4,
            # A narrower interval lies upon the wider ones, so it is thicker.
            linewidth=1.0 + 2.0 * widest_first.index(level),
            label=f"{level:.0%}",
        )
