"""Calibrators as JSON files, which contain readable numbers and no code."""

import json
import os
import pathlib

import numpy as np

from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Tensor

_FORMAT = "kerasdrop.calibration"
_VERSION = 1
_CLASSES: dict[str, type["Calibrator"]] = {}


class Calibrator:
    """The result of the `fit_...` functions, which can be called and saved.

    `load` finds a subclass that can be called by its name, and makes it again
    from what `get_config` returns.
    """

    def __init_subclass__(cls, **kwargs: Given) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            _CLASSES[cls.__name__] = cls

    def get_config(self) -> Config:
        """The arguments of the constructor: a dict that JSON can hold."""
        raise NotImplementedError(f"{type(self).__name__} has no get_config")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a JSON file that `calibration.load` reads.

        Args:
            path: String or `pathlib.Path`. A file that exists is replaced.
        """
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "class": type(self).__name__,
            "config": self.get_config(),
        }
        text = json.dumps(content, allow_nan=False, indent=1)
        pathlib.Path(path).write_text(text + "\n", encoding="utf-8")


def load(path: str | os.PathLike[str]) -> "Calibrator":
    """Reads a calibrator that its method `save` wrote.

    The file is JSON and runs no code. Its content is checked like the arguments
    of the constructor.

    Args:
        path: String or `pathlib.Path`.

    Returns:
        The calibrator, equal to the one that was saved to the last digit.

    Raises:
        ValueError: If `save` did not write the file, if it has a later version
            of the format, or if it holds numbers that are not finite.

    Example:

    >>> calibration.VarianceScaling(2.0).save("scale.json")
    >>> calibration.load("scale.json")
    VarianceScaling(scale=2)
    """
    text = pathlib.Path(path).read_text(encoding="utf-8")
    try:
        content = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise ValueError(
            f"load: '{path}' must be a JSON file that `save` of a calibrator "
            f"wrote. Received: {error}"
        ) from error
    is_ours = isinstance(content, dict) and content.get("format") == _FORMAT
    if not is_ours:
        raise ValueError(
            f"load: '{path}' must be a file that `save` of a calibrator wrote, "
            f"with format '{_FORMAT}'. Received: {text[:60]!r}"
        )
    if content.get("version") != _VERSION:
        raise ValueError(
            f"load: this kerasdrop reads version {_VERSION} of the files of "
            "calibrators. Update it, or fit anew. Received: version="
            f"{content.get('version')!r} in '{path}'"
        )
    name, config = content.get("class"), content.get("config")
    if name not in _CLASSES or not isinstance(config, dict):
        raise ValueError(
            f"load: '{path}' must hold a `config` for one of the classes "
            f"{', '.join(sorted(_CLASSES))}. Received: class={name!r}"
        )
    try:
        return _CLASSES[name](**config)
    except TypeError as error:
        raise ValueError(
            f"load: '{path}' does not hold the arguments of {name}. Received: "
            f"{error}"
        ) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which is not a finite number")


def finite_column(values: Tensor, name: str) -> Array:
    """A float64 array `(rows,)` of finite numbers, or an error."""
    try:
        column = np.asarray(values, "float64")
    except (TypeError, ValueError):
        column = np.empty((0, 0))
    if column.ndim != 1 or not len(column) or not np.isfinite(column).all():
        raise Refusal(
            f"argument `{name}` must be finite numbers, one for each "
            f"row that was calibrated on. Received: {name}={values!r:.80}"
        )
    return column
