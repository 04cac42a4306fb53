"""A plot of the layers that the predictive variance comes from."""

import numpy as np

from kerasdrop._refusals import blame
from kerasdrop._types import Given
from kerasdrop.plots import drawing
from kerasdrop.sobol_indices import SobolIndices

_HEIGHT = 0.38  # of a bar, where a group takes 1


@blame("variance_shares")
def variance_shares(data: SobolIndices, ax: Given = None) -> Given:
    """The first-order and the total share of each group, as bars.

    The bar of a total share is longer by the part that is due to interactions
    with other groups. Lines at the ends of the bars are standard errors.

    Args:
        data: A `kerasdrop.SobolIndices`, from `kerasdrop.mc_sobol_indices`.
        ax: Matplotlib axes; None for those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If `data` is not a `SobolIndices`.
        ImportError: If matplotlib is not installed.

    Example:

    >>> shares = kerasdrop.mc_sobol_indices(model, x, verbose=0)
    >>> ax = variance_shares(shares)
    >>> ax.get_xlabel()
    'share of the predictive variance'
    """
    drawing.check(data, SobolIndices, "mc_sobol_indices", "kerasdrop")
    ax = drawing.axes(ax)
    places = np.arange(len(data.names))
    columns = (
        ("first-order", data.first_order, data.first_order_errors, -0.5),
        ("total", data.total, data.total_errors, 0.5),
    )
    for label, shares, errors, side in columns:
        ax.barh(
            places + side * _HEIGHT,
            shares,
            _HEIGHT,
            xerr=errors,
            label=label,
            capsize=2,
        )
    ax.set_yticks(places, data.names)
    ax.invert_yaxis()  # the first group on top
    ax.set(xlabel="share of the predictive variance")
    return ax
