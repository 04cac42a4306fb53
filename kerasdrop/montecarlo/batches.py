"""Cuts data into batches of rows, each row with its place in the data."""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree


class RowsOf(NamedTuple):
    """Inputs together with each row's place in the data."""

    inputs: object
    rows: object


class Batches:
    """The rows of some data, some at a time.

    Every batch has the same size, so that one compiled function serves all:
    the last is filled up with copies of its last row, which the reader cuts.

    Args:
        x: Array, structure of arrays with the same number of rows, or an
            iterable of batches (`tf.data.Dataset`, PyTorch `DataLoader`,
            `keras.utils.PyDataset`, generator), each of them `x`, `(x,)`,
            `(x, y)` or `(x, y, sample_weight)`.
        batch_size: Integer; the batches of an iterable have their own.
        first_row: Integer, the place of the first row.
        owner: Who is to blame in a message.

    Attributes:
        num_batches: Integer, or None where the data do not tell.
        targets: List of what came with the inputs of an iterable so far,
            pairs of y and sample_weight.
    """

    def __init__(self, x, batch_size, first_row, owner):
        self._owner = owner
        self.targets = []
        self._first_row = first_row
        if is_iterable_of_batches(x):
            self._parts = self._inputs_of(x)
            size = getattr(x, "num_batches", None)
            size = _length(x) if size is None else size
            self.num_batches = size
        else:
            arrays = tree.map_structure(_array, x)
            num_rows = _num_rows(arrays, owner)
            size = min(batch_size, num_rows)
            self._parts = _slices(arrays, num_rows, size)
            self.num_batches = -(-num_rows // size)

    def __iter__(self):
        """Yields a `RowsOf` and how many rows of it are not filling."""
        start, size = self._first_row, None
        for part in self._parts:
            valid = _num_rows(part, self._owner)
            size = max(size or 0, valid)
            chosen = np.minimum(np.arange(size), valid - 1)
            inputs = tree.map_structure(
                lambda array: ops.convert_to_tensor(array[chosen]),  # noqa: B023
                part,
            )
            rows = ops.convert_to_tensor((start + chosen).astype("int32"))
            yield RowsOf(inputs, rows), valid
            start += valid
        if size is None:
            raise ValueError(
                f"{self._owner}: `x` must have at least one row. Received: "
                "data without a batch (an iterator that was used up?)"
            )

    def joined_targets(self):
        """All targets and sample weights so far; None where there are none."""
        return tuple(
            None
            if not parts or parts[0] is None
            else tree.map_structure(
                lambda *part: np.concatenate([_array(p) for p in part]), *parts
            )
            for parts in zip(*self.targets)
        ) or (None, None)

    def _inputs_of(self, x):
        if isinstance(x, keras.utils.PyDataset):
            batches = (x[number] for number in range(x.num_batches))
        else:
            batches = iter(x)
        for batch in batches:
            inputs, *targets = keras.utils.unpack_x_y_sample_weight(batch)
            self.targets.append(targets)
            yield tree.map_structure(_array, inputs)


def is_iterable_of_batches(x):
    """Whether `x` hands out batches, rather than being an array of rows."""
    if isinstance(x, keras.utils.PyDataset):
        return True
    is_structure = isinstance(x, (list, tuple, dict))
    is_array = hasattr(x, "__array__") or ops.is_tensor(x)
    return hasattr(x, "__iter__") and not is_structure and not is_array


def _length(x):
    try:
        return len(x)
    except TypeError:  # a generator, or a dataset without an end in sight
        return None


def _slices(arrays, num_rows, size):
    for start in range(0, num_rows, size):
        yield tree.map_structure(
            lambda array: array[start : start + size],  # noqa: B023
            arrays,
        )


def _array(x):
    array = ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(keras.config.floatx(), copy=False)
    return array


def _num_rows(arrays, owner):
    sizes = {
        array.shape[0] if array.shape else 0 for array in tree.flatten(arrays)
    }
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(
            f"{owner}: `x` must be an array of at least one row, or a "
            "structure of arrays with the same number of rows. Received: "
            "arrays of the shapes "
            f"{[array.shape for array in tree.flatten(arrays)]}"
        )
    return sizes.pop()
