"""Plots of rates: during training, and of the scores of `fit_rates`."""

import numpy as np

from kerasdrop._refusals import blame
from kerasdrop._types import Given
from kerasdrop.plots import drawing
from kerasdrop.rate_fit import RateCurve
from kerasdrop.rate_fit import RateFit

# A label has so many names of layers; of more, the last tells how many.
_NAMES = 3


@blame("rate_curve")
def rate_curve(
    data: RateFit, ax: Given = None, label: str | None = None
) -> Given:
    """The score at each rate that was tried, with the error of its difference.

    A bar is the standard error of the difference from the best score, paired
    over the rows, so the best rate has no bar. A rate is indistinguishable from
    the best if a bar of twice that length reaches the best score; these rates
    have filled points. The dashed line is weight scaling, `model.predict`.

    A fit of groups has a line for each group, at the best rates of the others,
    labelled with its name for a legend, and a line for one common rate.

    Args:
        data: A `kerasdrop.RateFit`, from `kerasdrop.fit_rates`. Scores that
            are not finite are left out.
        ax: Matplotlib axes; None for those of a new figure.
        label: String for a legend, or None. It comes before the names of
            groups.

    Returns:
        The axes.

    Raises:
        ValueError: If `data` is not a `RateFit`.
        ImportError: If matplotlib is not installed.

    Example:

    >>> fit = kerasdrop.fit_rates(model, x, y, rates=[0.1, 0.5], verbose=0)
    >>> ax = rate_curve(fit)
    >>> ax.get_ylabel()
    'log_likelihood'
    """
    drawing.check(data, RateFit, "fit_rates", "kerasdrop")
    ax = drawing.axes(ax)
    before = "" if label is None else f"{label}, "
    for name, curve in data.groups.items():
        _draw_curve(ax, curve, f"{before}{name}")
    _draw_curve(ax, data, f"{before}one rate" if data.groups else label)
    if data.weight_scaling is not None:
        ax.axhline(
            data.weight_scaling, color="0.6", linestyle="--", linewidth=1
        )
    ax.set(xlabel="rate", ylabel=data.score)
    return ax


def _draw_curve(ax: Given, curve: RateCurve | RateFit, label: Given) -> None:
    # None becomes NaN, which is not drawn.
    columns = (curve.grid, curve.scores, curve.shortfall_errors)
    rates, scores, errors = (np.array(one, "float64") for one in columns)
    bars = ax.errorbar(
        rates, scores, np.nan_to_num(errors), label=label, capsize=2
    )
    color = bars.lines[0].get_color()
    is_best = np.isin(rates, curve.equivalent)
    for some, face in ((is_best, color), (~is_best, "none")):
        ax.scatter(
            rates[some], scores[some], 30.0, facecolors=face, edgecolors=color
        )


def rate_history(history: Given, ax: Given = None) -> Given:
    """The dropout rate of each layer over the epochs.

    Layers whose rates are equal in every epoch share a line. Its label names
    all of them, or the first two and the number of others.

    Args:
        history: What `fit` returns, or its `history`, from a training with
            `kerasdrop.callbacks.DropoutRateLogger`.
        ax: Matplotlib axes; None for those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If no rates were logged.
        ImportError: If matplotlib is not installed.

    Example:

    >>> logger = kerasdrop.callbacks.DropoutRateLogger()
    >>> history = model.fit(x, y, epochs=2, callbacks=[logger], verbose=0)
    >>> ax = rate_history(history)
    """
    logs: Given = getattr(history, "history", history)
    rates = {
        name.removeprefix("rate/"): values
        for name, values in logs.items()
        if name == "rate" or name.startswith("rate/")
    }
    if not rates:
        raise ValueError(
            "rate_history: no rates were logged. Train with "
            "`callbacks=[kerasdrop.callbacks.DropoutRateLogger()]`. Received: "
            f"a history of {', '.join(logs) or 'nothing'}"
        )
    ax = drawing.axes(ax)
    names_of: dict[tuple[float, ...], list[str]] = {}
    for name, values in rates.items():
        names_of.setdefault(tuple(values), []).append(name)
    for values, names in names_of.items():
        epochs = np.arange(1, len(values) + 1)
        ax.plot(epochs, values, marker=".", label=_joined(names))
    ax.set(xlabel="epoch", ylabel="rate", ylim=(0, 1))
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def _joined(names: list[str]) -> str:
    if len(names) > _NAMES:
        others = len(names) - (_NAMES - 1)
        names = [*names[: _NAMES - 1], f"{others} others"]
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
