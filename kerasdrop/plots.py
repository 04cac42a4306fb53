"""Plots of uncertainty and of rates: `ax` in, `ax` out.

Needs matplotlib: `pip install "kerasdrop[plots]"`. It is loaded by the first
plot, not by `import kerasdrop`.

Each function draws on the axes that it is given, or on new ones, adds labels,
returns the axes and leaves everything else (titles, legends, saving, showing)
to the caller: `plots.rate_history(history).figure.savefig("rates.png")`.
"""

import numpy as np
from keras import ops

from kerasdrop import calibration
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.rate_fit import RateFit

__all__ = [
    "ood_detection",
    "predictive_intervals",
    "rate_curve",
    "rate_history",
    "reliability",
    "risk_coverage",
]


@blame("reliability")
def reliability(
    data: Given, ax: Given = None, label: str | None = None
) -> Given:
    """What was promised against what came true, bin by bin.

    On the diagonal they agree; below it the predictions are too confident. The
    area of a point is in proportion to the weight of its bin.

    Args:
        data: A `calibration.Reliability`, from `calibration.reliability`,
            `calibration.gaussian_reliability` or
            `metrics.ExpectedCalibrationError.reliability`.
        ax: Axes of matplotlib; None for those of a new figure.
        label: String for a legend, or None.

    Returns:
        The axes.

    Raises:
        ValueError: If `data` is no `Reliability`.
        ImportError: If matplotlib is not installed.

    Example:

    >>> p = model.predict(x, verbose=0)
    >>> curve = kerasdrop.calibration.reliability(y, p)
    >>> ax = reliability(curve, label="untrained")
    """
    _check(data, calibration.Reliability, "reliability")
    ax = _axes(ax)
    weight, predicted, observed = map(ops.convert_to_numpy, data)
    filled = weight > 0.0
    # Fewer, larger points; many, as of levels, would lie upon each other.
    area = min(120.0, 1200.0 / filled.sum()) * weight[filled] / weight.max()
    ax.axline((0.0, 0.0), slope=1.0, color="0.6", linestyle="--", linewidth=1)
    (line,) = ax.plot(predicted[filled], observed[filled], label=label)
    color = line.get_color()
    ax.scatter(predicted[filled], observed[filled], area, color=color)
    ax.set(xlabel="predicted", ylabel="observed", xlim=(0, 1), ylim=(0, 1))
    return ax


@blame("risk_coverage")
def risk_coverage(
    data: Given, ax: Given = None, label: str | None = None
) -> Given:
    """The mean error of the rows kept, over the part of the rows kept.

    Args:
        data: A `calibration.RiskCoverage`, from `calibration.risk_coverage`.
        ax: Axes of matplotlib; None for those of a new figure.
        label: String for a legend, or None.

    Returns:
        The axes.

    Raises:
        ValueError: If `data` is no `RiskCoverage`.
        ImportError: If matplotlib is not installed.

    Example:

    >>> p = model.predict(x, verbose=0)
    >>> uncertainty = kerasdrop.measures.entropy(p)
    >>> curve = kerasdrop.calibration.risk_coverage(
    ...     p.argmax(-1) != y, uncertainty
    ... )
    >>> ax = risk_coverage(curve)
    """
    _check(data, calibration.RiskCoverage, "risk_coverage")
    ax = _axes(ax)
    coverage, risk = map(ops.convert_to_numpy, data)
    ax.plot(coverage, risk, label=label)
    ax.set(xlabel="coverage", ylabel="risk", xlim=(0, 1))
    return ax


@blame("ood_detection")
def ood_detection(
    usual: Array,
    shifted: Array,
    ax: Given = None,
    labels: tuple[str, str] = ("usual", "shifted"),
    bins: int = 30,
) -> Given:
    """The histograms of an uncertainty in two sets, each by its part.

    Args:
        usual, shifted: `(rows,)`, finite numbers, as for
            `calibration.ood_detection`.
        ax: Axes of matplotlib; None for those of a new figure.
        labels: Two strings for a legend.
        bins: Integer, bins of equal width over both sets.

    Returns:
        The axes.

    Raises:
        ValueError: If a set has no rows, or numbers that are not finite.
        ImportError: If matplotlib is not installed.

    Example:

    >>> ax = ood_detection([0.1, 0.2, 0.3], [0.4, 0.5, 0.9], bins=5)
    >>> ax.get_xlabel()
    'uncertainty'
    """
    sets = [
        _column(name, value)
        for name, value in (("usual", usual), ("shifted", shifted))
    ]
    for name, values in zip(("usual", "shifted"), sets):
        if not len(values) or not np.isfinite(values).all():
            raise ValueError(
                f"ood_detection: argument `{name}` must have a finite number "
                f"for each row. Received: {len(values)} rows from "
                f"{values.min(initial=np.inf)} to "
                f"{values.max(initial=-np.inf)}"
            )
    edges = np.histogram_bin_edges(np.concatenate(sets), bins)
    ax = _axes(ax)
    for values, label in zip(sets, labels):
        ax.hist(
            values,
            edges,
            weights=np.full(len(values), 1.0 / len(values)),
            histtype="stepfilled",
            alpha=0.5,
            label=label,
        )
    ax.set(xlabel="uncertainty", ylabel="part of the rows")
    return ax


@blame("predictive_intervals")
def predictive_intervals(
    x: ArrayLike,
    mean: Tensor,
    variance: Tensor,
    levels: tuple[float, ...] = (0.5, 0.9),
    ax: Given = None,
) -> Given:
    """The mean and central intervals of normals, over one input.

    Args:
        x: `(rows,)`, in any order.
        mean, variance: `(rows,)` or `(rows, 1)`, e.g. `result.mean` and
            `result.total_variance`.
        levels: Floats in (0, 1), the probabilities of the intervals.
        ax: Axes of matplotlib; None for those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If the shapes do not agree, a variance is below 0, or a
            level is out of its range.
        ImportError: If matplotlib is not installed.

    Example:

    >>> inputs = np.linspace(0.0, 1.0, 20)
    >>> ax = predictive_intervals(inputs, mean=inputs**2, variance=0.1 * inputs)
    >>> legend = ax.legend()
    """
    x, mean, variance = (
        _column(name, value)
        for name, value in (("x", x), ("mean", mean), ("variance", variance))
    )
    if not len(x) == len(mean) == len(variance):
        raise ValueError(
            "predictive_intervals: `x`, `mean` and `variance` must have the "
            f"same number of rows. Received: {len(x)}, {len(mean)} and "
            f"{len(variance)}"
        )
    order = np.argsort(x)
    x, mean, variance = x[order], mean[order], variance[order]
    bands = [
        (level, calibration.gaussian_interval(mean, variance, level))
        for level in levels
    ]
    ax = _axes(ax)
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
    ax.set(xlabel="x", ylabel="y")
    return ax


@blame("rate_curve")
def rate_curve(
    data: RateFit, ax: Given = None, label: str | None = None
) -> Given:
    """The score at each rate that was tried, with what tells it from the best.

    A bar is the standard error of the difference to the best score, paired
    over the rows: so the best has none, and a rate whose bar of twice that
    length reaches the level of the best cannot be told from it. These rates
    have filled points. The dashed line is weight scaling, `model.predict`.

    Args:
        data: A `kerasdrop.RateFit`, from `kerasdrop.fit_rates`. Scores that
            are not finite are left out.
        ax: Axes of matplotlib; None for those of a new figure.
        label: String for a legend, or None.

    Returns:
        The axes.

    Raises:
        ValueError: If `data` is no `RateFit`.
        ImportError: If matplotlib is not installed.

    Example:

    >>> fit = kerasdrop.fit_rates(model, x, y, rates=[0.1, 0.5], verbose=0)
    >>> ax = rate_curve(fit)
    >>> ax.get_ylabel()
    'log_likelihood'
    """
    _check(data, RateFit, "fit_rates", "kerasdrop")
    ax = _axes(ax)
    # None becomes NaN, which is not drawn.
    columns = (data.grid, data.scores, data.shortfall_errors)
    rates, scores, errors = (np.array(one, "float64") for one in columns)
    bars = ax.errorbar(
        rates, scores, np.nan_to_num(errors), label=label, capsize=2
    )
    color = bars.lines[0].get_color()
    is_best = np.isin(rates, data.equivalent)
    for some, face in ((is_best, color), (~is_best, "none")):
        ax.scatter(
            rates[some], scores[some], 30.0, facecolors=face, edgecolors=color
        )
    if data.weight_scaling is not None:
        ax.axhline(
            data.weight_scaling, color="0.6", linestyle="--", linewidth=1
        )
    ax.set(xlabel="rate", ylabel=data.score)
    return ax


def rate_history(history: Given, ax: Given = None) -> Given:
    """The dropout rate of each layer over the epochs.

    Args:
        history: What `fit` returns, or its `history`, of a training with
            `kerasdrop.callbacks.DropoutRateLogger`.
        ax: Axes of matplotlib; None for those of a new figure.

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
    ax = _axes(ax)
    for name, values in rates.items():
        epochs = np.arange(1, len(values) + 1)
        ax.plot(epochs, values, marker=".", label=name)
    ax.set(xlabel="epoch", ylabel="rate", ylim=(0, 1))
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def _axes(ax: Given) -> Given:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "kerasdrop.plots needs matplotlib. Install it by `pip install "
            '"kerasdrop[plots]"`, or `pip install matplotlib`.'
        ) from error
    return plt.subplots(layout="constrained")[1]


def _check(
    data: Given,
    kind: type,
    made_by: str,
    module: str = "kerasdrop.calibration",
) -> None:
    if not isinstance(data, kind):
        raise Refusal(
            f"argument `data` must be a `{kind.__name__}`, as "
            f"`{module}.{made_by}` returns it. Received: data of "
            f"type {type(data).__name__}"
        )


def _column(name: str, value: Given) -> Array:
    value = np.asarray(ops.convert_to_numpy(value), "float64")
    if value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if value.ndim != 1:
        raise Refusal(
            f"argument `{name}` must have a number for each row. "
            f"Received: {name} of shape {value.shape}"
        )
    return value
