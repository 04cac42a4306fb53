"""Samples that are written into an array of the user, batch by batch."""

from typing import NoReturn

import numpy as np
from keras import tree

from kerasdrop._refusals import Refusal
from kerasdrop._types import Config
from kerasdrop._types import Given
from kerasdrop._types import Structure


class SamplesOut:
    """Writes the samples of batches, and takes them out of the statistics.

    Args:
        arrays: An array `(rows, num_samples, ...)` that takes slices, or a
            structure of them, as the model's outputs.
        num_rows: Integer, the number of rows, or None if it is unknown.
        num_samples: Integer, the samples of each row.
    """

    def __init__(
        self, arrays: Structure, num_rows: int | None, num_samples: int
    ) -> None:
        self._arrays = tree.flatten(arrays)
        for array in self._arrays:
            self._check(array, num_rows, num_samples)

    def _check(
        self, array: Given, num_rows: int | None, num_samples: int
    ) -> None:
        shape: Given = getattr(array, "shape", None)
        dtype: Given = getattr(array, "dtype", None)
        takes_slices = shape is not None and hasattr(array, "__setitem__")
        if not takes_slices or len(shape) < 2 or shape[1] != num_samples:
            self._refuse(
                f"one axis of {num_samples} samples behind that of the rows",
                f"a {type(array).__name__} of shape {shape}",
            )
        if num_rows is not None and shape[0] != num_rows:
            self._refuse(f"{num_rows} rows", f"shape {tuple(shape)}")
        if dtype is not None and not _is_float(dtype):
            self._refuse("numbers of a floating-point dtype", f"dtype {dtype}")
        if isinstance(array, np.ndarray) and not array.flags.writeable:
            self._refuse(
                "write access, e.g. the mode 'r+'", "a read-only array"
            )

    def _refuse(self, wanted: str, received: str) -> NoReturn:
        raise Refusal(
            "argument `samples_out` must be an array that "
            "takes slices, e.g. `numpy.memmap`, or one for each output, with "
            f"{wanted}. Received: {received}"
        )

    def taken(self, part: Config, first: int) -> Config:
        """Statistics of a batch without the samples, which are written.

        Args:
            part: A dict of statistics.
            first: Integer, the place of its first row.
        """
        part = dict(part)
        samples = tree.flatten(part.pop("samples"))
        if len(samples) != len(self._arrays):
            self._refuse(
                f"{len(samples)} arrays in all", f"{len(self._arrays)}"
            )
        end = first + len(samples[0])
        for array, each in zip(self._arrays, samples):
            if tuple(array.shape[2:]) != each.shape[2:] or array.shape[0] < end:
                self._refuse(
                    f"room for {end} rows of shape {each.shape[2:]}",
                    f"shape {tuple(array.shape)}",
                )
            # After Ctrl-C in the first batch there may be fewer samples.
            array[first:end, : each.shape[1]] = each
        return part


def _is_float(dtype: Given) -> bool:
    try:
        return np.dtype(dtype).kind == "f"
    except TypeError:  # not a dtype of NumPy
        return False
