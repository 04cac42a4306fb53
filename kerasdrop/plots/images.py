"""Plots of images with maps of their uncertainty."""

import numbers

import numpy as np
from keras import ops

from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._refusals import blame
from kerasdrop._types import Array
from kerasdrop._types import ArrayLike
from kerasdrop._types import Given
from kerasdrop._types import Tensor
from kerasdrop.plots import drawing

_NUM_IMAGES = 12
_COLUMNS = 6


@blame("uncertainty_map")
def uncertainty_map(
    images: ArrayLike,
    uncertainty: Tensor,
    row: int = 0,
    axes: Given = None,
    label: str = "uncertainty",
    data_format: str | None = None,
) -> Given:
    """An image and, beside it, the map of its uncertainty.

    The colors of the map and the grays of the image mean the same in every row:
    their range is that of all given rows. The colors of the map begin at 0.

    Args:
        images: `(rows, height, width)`, optionally with channels: 1 (gray) or 3
            (red, green, blue). Colors are drawn as they are if they are of
            dtype uint8 or lie in [0, 1]. Otherwise the lowest number in
            `images` becomes black and the highest white.
        uncertainty: `(rows, height, width)`, or with 1 channel, e.g.
            `result.predictive_entropy`, or `result.std[..., 0]` of a
            regression. The height and width may differ from those of the
            images.
        row: Integer, the row to draw; negative numbers count from the end.
        axes: Two Matplotlib axes, for the image and for the map; None for those
            of a new figure.
        label: String, the label of the color bar.
        data_format: The position of the channels, `"channels_last"` or
            `"channels_first"`; None for that of the Keras configuration.

    Returns:
        NumPy array of the two axes.

    Raises:
        ValueError: If a shape is none of these, a number is not finite, the
            two arguments differ in their number of rows, `row` does not exist,
            or there are not two axes.
        ImportError: If matplotlib is not installed.

    Example:

    >>> pictures = np.zeros((2, 8, 8, 1))
    >>> entropy = np.full((2, 8, 8), 0.1)  # result.predictive_entropy
    >>> axes = uncertainty_map(pictures, entropy, row=1)
    >>> figure = axes[0].figure
    """
    images = _images(images, data_format)
    maps = _maps(uncertainty, data_format)
    _check_rows(images, "uncertainty", maps)
    row = _row(row, len(images))
    axes = drawing.grid(axes, 2, columns=2, inches=3.0)
    _draw(axes[0], images, row)
    colors = axes[1].imshow(
        maps[row], cmap="magma", vmin=min(0.0, maps.min()), vmax=maps.max()
    )
    axes[1].set_axis_off()
    axes[1].figure.colorbar(colors, ax=axes[1], label=label)
    return axes


@blame("least_certain")
def least_certain(
    images: ArrayLike,
    uncertainty: Tensor,
    classes: Given = None,
    num_images: int | None = None,
    axes: Given = None,
    data_format: str | None = None,
) -> Given:
    """The images with the highest uncertainty, the highest first.

    The title of each image has its class and its uncertainty. If rows are
    equally uncertain, the earlier one comes first.

    Args:
        images: As for `uncertainty_map`.
        uncertainty: `(rows,)` or `(rows, 1)`, e.g. `result.predictive_entropy`
            of a classifier.
        classes: `(rows,)`, the number or the name of the class of each row,
            e.g. `result.mean.argmax(axis=-1)`; None for titles without a class.
        num_images: Integer, the number of images to draw, at most the number of
            rows. None for as many as there are `axes`; without `axes`, for 12,
            or for all rows if there are fewer.
        axes: Matplotlib axes, one for each image; None for those of a new
            figure.
        data_format: As for `uncertainty_map`.

    Returns:
        NumPy array of the axes, `(num_images,)`.

    Raises:
        ValueError: If a shape is none of these, a number is not finite, the
            arguments differ in their number of rows, or there are too few rows
            or another number of axes than images to draw.
        ImportError: If matplotlib is not installed.

    Example:

    >>> pictures = np.zeros((3, 8, 8))
    >>> axes = least_certain(pictures, [0.1, 0.9, 0.5], ["a", "b", "c"])
    >>> [ax.get_title() for ax in axes]
    ['b: 0.900', 'c: 0.500', 'a: 0.100']
    """
    images = _images(images, data_format)
    values = drawing.column("uncertainty", uncertainty)
    _check_finite("uncertainty", values)
    _check_rows(images, "uncertainty", values)
    names = None
    if classes is not None:
        names = _names(classes)
        _check_rows(images, "classes", names)
    axes = None if axes is None else np.ravel(axes)
    number = _number(num_images, axes, len(images))
    axes = drawing.grid(axes, number, columns=_COLUMNS, inches=1.5)
    order = np.argsort(-values, kind="stable")
    for ax, row in zip(axes, order):
        _draw(ax, images, row)
        title = f"{values[row]:#.3g}"
        ax.set_title(title if names is None else f"{names[row]}: {title}")
    return axes


def _images(images: Given, data_format: str | None) -> Array:
    """Gray images `(rows, height, width)`, or with a last axis of colors."""
    array = _array("images", images)
    if array.ndim == 4:
        array = _channels_last(array, data_format)
    if not (array.ndim == 3 or array.shape[3:] == (3,)) or not array.size:
        raise Refusal(
            "argument `images` must be (rows, height, width), optionally with "
            "1 or 3 channels at the position of `data_format`. Reshape flat "
            "images; select 3 channels if there are more. Received: images of "
            f"shape {np.shape(images)}"
        )
    low, high = array.min(), array.max()
    if array.ndim == 3 or (low >= 0.0 and high <= 1.0):
        return array
    return (array - low) / (high - low if high > low else 1.0)


def _maps(uncertainty: Given, data_format: str | None) -> Array:
    array = _array("uncertainty", uncertainty)
    if array.ndim == 4:
        array = _channels_last(array, data_format)
    if array.ndim != 3 or not array.size:
        raise Refusal(
            "argument `uncertainty` must be (rows, height, width), one number "
            "for each pixel. If there are several, choose one: "
            "`result.std[..., 0]`. Received: uncertainty of shape "
            f"{np.shape(uncertainty)}"
        )
    return array


def _array(name: str, value: Given) -> Array:
    array = np.asarray(ops.convert_to_numpy(value))
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    array = array.astype("float64") / scale
    _check_finite(name, array)
    return array


def _check_finite(name: str, array: Array) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        raise Refusal(
            f"argument `{name}` must hold finite numbers. Received: "
            f"{(~finite).sum()} of {array.size} numbers are not finite"
        )


def _channels_last(array: Array, data_format: str | None) -> Array:
    """Moves channels behind the pixels; removes the axis of a single one."""
    if _checks.data_format(data_format) == "channels_first":
        array = np.moveaxis(array, 1, -1)
    return array[..., 0] if array.shape[-1] == 1 else array


def _check_rows(images: Array, name: str, values: Array) -> None:
    if len(images) != len(values):
        raise Refusal(
            f"`images` and `{name}` must have the same number of rows. "
            f"Received: {len(images)} and {len(values)}"
        )


def _names(classes: Given) -> Array:
    names = np.asarray(ops.convert_to_numpy(classes))
    if names.ndim != 1:
        raise Refusal(
            "argument `classes` must be (rows,), one class for each row. For "
            "probabilities, pass `result.mean.argmax(axis=-1)`. Received: "
            f"classes of shape {names.shape}"
        )
    return names


def _row(row: Given, rows: int) -> int:
    is_integer = isinstance(row, numbers.Integral) and not isinstance(row, bool)
    if not is_integer or not -rows <= row < rows:
        raise Refusal(
            f"argument `row` must be an integer from {-rows} to {rows - 1}. "
            f"Received: row={row!r}"
        )
    return int(row)


def _number(num_images: Given, axes: Given, rows: int) -> int:
    """How many images to draw."""
    if num_images is None:
        number = min(_NUM_IMAGES, rows) if axes is None else len(axes)
    else:
        number = _checks.positive_integer(num_images, "num_images")
    if number > rows:
        raise Refusal(
            f"there are {rows} images. Received: {number} to draw, from "
            "`num_images` or the number of `axes`"
        )
    return number


def _draw(ax: Given, images: Array, row: int) -> None:
    # For color images, imshow ignores the limits.
    ax.imshow(images[row], cmap="gray", vmin=images.min(), vmax=images.max())
    ax.set_axis_off()
