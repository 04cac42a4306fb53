"""Plots of how far an uncertainty can be trusted."""

import numpy as np
from keras import ops

from kerasdrop import calibration
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import Given
from kerasdrop.plots import drawing


@blame("reliability")
def reliability(
    data: Given, ax: Given = None, label: str | None = None
) -> Given:
    """Observed against predicted frequencies, bin by bin.

    On the diagonal they agree; below it the predictions are too confident. The
    area of a point is proportional to the weight of its bin.

    Args:
        data: A `calibration.Reliability`, from `calibration.reliability`,
            `calibration.gaussian_reliability` or
            `metrics.ExpectedCalibrationError.reliability`.
        ax: Matplotlib axes; None for those of a new figure.
        label: String for a legend, or None.

    Returns:
        The axes.

    Raises:
        ValueError: If `data` is not a `Reliability`.
        ImportError: If matplotlib is not installed.

    Example:

    >>> p = model.predict(x, verbose=0)
    >>> curve = kerasdrop.calibration.reliability(y, p)
    >>> ax = reliability(curve, label="untrained")
    """
    drawing.check(data, calibration.Reliability, "reliability")
    ax = drawing.axes(ax)
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
    """The mean error of the rows kept, against the fraction of rows kept.

    Args:
        data: A `calibration.RiskCoverage`, from `calibration.risk_coverage`.
        ax: Matplotlib axes; None for those of a new figure.
        label: String for a legend, or None.

    Returns:
        The axes.

    Raises:
        ValueError: If `data` is not a `RiskCoverage`.
        ImportError: If matplotlib is not installed.

    Example:

    >>> p = model.predict(x, verbose=0)
    >>> uncertainty = kerasdrop.measures.entropy(p)
    >>> curve = kerasdrop.calibration.risk_coverage(
    ...     p.argmax(-1) != y, uncertainty
    ... )
    >>> ax = risk_coverage(curve)
    """
    drawing.check(data, calibration.RiskCoverage, "risk_coverage")
    ax = drawing.axes(ax)
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
    """The histograms of an uncertainty in two sets, as fractions of each set.

    Args:
        usual, shifted: `(rows,)`, finite numbers, as for
            `calibration.ood_detection`.
        ax: Matplotlib axes; None for those of a new figure.
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
        drawing.column(name, value)
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
    ax = drawing.axes(ax)
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
