"""The axes of plots, and checks of their data."""

import numpy as np
from keras import ops

from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import Given


def axes(ax: Given) -> Given:
    """The given axes, or those of a new figure."""
    return _subplots()[1] if ax is None else ax


def grid(axes: Given, number: int, columns: int, inches: float) -> Given:
    """A flat array of `number` axes: the given ones, or of a new figure."""
    if axes is None:
        columns = min(number, columns)
        rows = -(-number // columns)
        size = (columns * inches, rows * inches)
        _, axes = _subplots(rows, columns, figsize=size, squeeze=False)
        for ax in axes.flat[number:]:
            ax.remove()
        return axes.flat[:number]
    axes = np.ravel(axes)
    if len(axes) != number:
        raise Refusal(
            f"argument `axes` must be {number} Matplotlib axes. "
            f"Received: {len(axes)}"
        )
    return axes


def _subplots(*args: int, **options: Given) -> Given:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "kerasdrop.plots needs matplotlib. Install it with `pip install "
            '"kerasdrop[plots]"`, or `pip install matplotlib`.'
        ) from error
    return plt.subplots(*args, layout="constrained", **options)


def check(
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


def column(name: str, value: Given) -> Array:
    value = np.asarray(ops.convert_to_numpy(value), "float64")
    if value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if value.ndim != 1:
        raise Refusal(
            f"argument `{name}` must have a number for each row. "
            f"Received: {name} of shape {value.shape}"
        )
    return value
