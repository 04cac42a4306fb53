"""Joins the statistics of batches without holding any of them twice."""

import numpy as np
from keras import tree

from kerasdrop import _refusals
from kerasdrop._types import Array
from kerasdrop._types import Config
from kerasdrop._types import Given


class Joined:
    """The joined statistics of the rows so far.

    Args:
        num_rows: Integer, the number of rows in all; None if it is unknown.

    Attributes:
        num_rows: Integer, the number of rows so far.
    """

    def __init__(self, num_rows: int | None) -> None:
        self._most_rows = num_rows
        self._columns: dict[
            Given, Given
        ] = {}  # by name, in the structure of the statistic
        self.num_rows = 0

    def update(self, part: Config) -> None:
        """Adds the next rows' statistics, a dict of structures of arrays."""
        if not self._columns:
            self._columns = {
                name: tree.map_structure(
                    lambda array: _Column(self._most_rows, array), arrays
                )
                for name, arrays in part.items()
            }
        self._check_structure(part)
        for name, arrays in part.items():
            columns = tree.flatten(self._columns[name])
            for column, array in zip(columns, tree.flatten(arrays)):
                self._check(column, array)
                column.update(array)
        self.num_rows += len(array)

    def _check_structure(self, part: Config) -> None:
        """Raises if these are statistics of other outputs than before.

        A likelihood exists only for the outputs for which a batch has targets.
        If arrays were paired by their order, outputs would be mixed up.
        """
        before, now = map(_places, (self._columns, part))
        if before == now:
            return
        raise _refusals.Refusal(
            "all batches must have targets for the same outputs: those of some "
            "rows alone cannot be joined. Received: a batch with the "
            f"statistics {_only_in(now, before)} and without "
            f"{_only_in(before, now)}, unlike the batches before"
        )

    def _check(self, column: "_Column", array: Array) -> None:
        if array.shape[1:] == column.shape:
            return
        raise _refusals.Refusal(
            "the outputs of batches of different sizes do not "
            "fit together. Choose a `batch_size` that divides the number of "
            "rows. Received: statistics of batches whose rows have the shapes "
            f"{column.shape} and {array.shape[1:]}"
        )

    def result(self) -> Config:
        """Returns the statistics of all rows."""
        return {
            name: tree.map_structure(
                lambda column: column.result(self.num_rows), columns
            )
            for name, columns in self._columns.items()
        }


def _places(statistics: Config) -> set[tuple[Given, ...]]:
    return {path for path, _ in tree.flatten_with_path(statistics)}


def _only_in(
    some: set[tuple[Given, ...]], others: set[tuple[Given, ...]]
) -> list[str]:
    return sorted(".".join(map(str, path)) for path in some - others)


class _Column:
    """The rows of one array, which come in parts.

    Attributes:
        shape: The shape of a row.
    """

    def __init__(self, num_rows: int | None, first: Array) -> None:
        self.shape = first.shape[1:]
        self._rows: Given = None
        self._parts: Given = None
        if num_rows is not None and len(first) < num_rows:
            self._rows = np.empty((num_rows, *self.shape), first.dtype)
            self._count = 0
        else:
            self._parts = []

    def update(self, part: Array) -> None:
        if self._rows is None:
            self._parts.append(part)
            return
        self._rows[self._count : self._count + len(part)] = part
        self._count += len(part)

    def result(self, num_rows: int) -> Array:
        if self._rows is not None:
            return self._rows[:num_rows]
        if len(self._parts) == 1:
            # JAX owns its arrays, which are read-only.
            return np.require(self._parts[0], requirements="W")
        rows = np.empty((num_rows, *self.shape), self._parts[0].dtype)
        self._parts.reverse()
        start = 0
        # Each part is freed when it has been copied. After Ctrl-C only some
        # arrays may have the last part.
        while start < num_rows:
            part = self._parts.pop()
            rows[start : start + len(part)] = part
            start += len(part)
        return rows
