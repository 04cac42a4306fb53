"""Cuts data into batches of rows; each row keeps its position in the data."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop._refusals import Refusal
from kerasdrop._types import Array
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor
from kerasdrop.montecarlo.engine import arrays as arrays_


class RowsOf(NamedTuple):
    """Inputs, and the position of each row in the data.

    Attributes:
        inputs: The model's inputs.
        rows: int32 tensor `(batch,)`.
        targets: Tensors in the structure of the model's outputs, or None.
    """

    inputs: Given
    rows: Given
    targets: Given = None


class Labels(NamedTuple):
    """The targets and weights by which rows are judged.

    Attributes:
        y: A structure of arrays `(rows, ...)`; None if there are no targets.
        sample_weight: An array `(rows,)`, a structure of arrays, or None.
    """

    y: Given = None
    sample_weight: Given = None


class Batch(NamedTuple):
    """Some rows of the data.

    Attributes:
        rows: A `RowsOf`.
        num_valid: Integer, how many of them are not padding.
        labels: The `Labels` of these rows.
    """

    rows: RowsOf
    num_valid: int
    labels: Labels


class Batches:
    """Iterates over the rows of some data in batches.

    All batches have the same size, so that they share one compiled function:
    the last batch is padded with copies of its last row, which the reader
    removes. Under a `keras.distribution` each batch is spread over the devices,
    and padded to a multiple of their number. If rows of a batch may see each
    other, nothing is padded.

    Args:
        x: Tensor, structure of arrays with the same number of rows (None for an
            optional input that is left out; pandas objects and sparse matrices
            of scipy count as arrays), or an iterable of batches
            (`tf.data.Dataset`, PyTorch `DataLoader`, `keras.utils.PyDataset`,
            generator), each of them `x`, `(x,)`, `(x, y)` or `(x, y,
            sample_weight)`.
        batch_size: Integer; the batches of an iterable keep their own sizes.
        most_rows: Function of a `RowsOf` with the dense arrays of a batch, and
            of a number of rows. It returns how many of these rows can be drawn
            at a time, or None for all.
        first_row: Integer, the position of the first row; the others follow it.
        rows: None, or integers, the position of each row.
        y: None, or targets: an array or a structure of arrays. True means the
            targets that come with the batches of an iterable.
        steps: None, or an integer, how many batches to take.
        fills: Whether batches are padded.
        labels: None, or the `Labels` by which the rows are judged. If `x` is an
            iterable, its batches contain them, and `y` is None or True here.

    Attributes:
        num_batches: Integer, or None if the data do not tell.
        num_rows: Integer, the rows of all batches; None for an iterable.
    """

    def __init__(
        self,
        x: Given,
        batch_size: int,
        most_rows: Function,
        first_row: int,
        rows: Given = None,
        y: Given = None,
        steps: int | None = None,
        fills: bool = True,
        labels: Labels | None = None,
    ) -> None:
        _check_processes()
        self._fills = fills
        self.num_rows: int | None = None
        self.num_batches: int | None = None
        self._first_row = first_row
        self._rows = None if rows is None else _checks.rows(rows)
        if self._rows is not None and first_row:
            raise Refusal(
                "`rows` has the position of each row, and `first_row` that of "
                "the first, if the others follow it. Pass one of them. "
                f"Received: both, first_row={first_row}"
            )
        self._takes_targets = y is True
        self._takes_labels = labels is not None
        if arrays_.is_iterable_of_batches(x):
            self._take_batches(x, most_rows, y, steps, labels)
        else:
            self._take_arrays(x, batch_size, most_rows, y, steps, labels)

    def _take_batches(
        self,
        x: Given,
        most_rows: Function,
        y: Given,
        steps: int | None,
        labels: Labels | None,
    ) -> None:
        """Takes the data from an iterable of batches."""
        if self._rows is not None or not (y is None or y is True):
            raise Refusal(
                "`rows` and `y` need `x` as arrays; `y=True` uses the targets "
                "that come with the batches. Received: x of type "
                f"{type(x).__name__}, which yields batches"
            )
        if labels is not None:
            _check_none_given(x, labels)
        self.num_batches = _num_batches(x, steps)
        self._parts = self._inputs_of(x, most_rows, steps)

    def _take_arrays(
        self,
        x: Given,
        batch_size: int,
        most_rows: Function,
        y: Given,
        steps: int | None,
        labels: Labels | None,
    ) -> None:
        """Takes the data from arrays with all rows."""
        if y is True or (labels and labels.y is True):
            raise Refusal(
                "`y=True` uses the targets that come with batches. Pass the "
                "targets themselves. Received: x of type "
                f"{type(x).__name__}, which has none"
            )
        parts = (
            arrays_.of(x, "x"),
            None if y is None else arrays_.of(y, "y"),
            Labels() if labels is None else _labels(labels),
        )
        given = [] if self._rows is None else [self._rows]
        num_rows = arrays_.num_rows([parts, given])
        if steps is not None:
            num_rows = min(num_rows, steps * batch_size)
        size = min(batch_size, num_rows)
        first = arrays_.rows_of_float_type(parts[:2], slice(0, size))
        data = RowsOf(first[0], None, first[1])
        size = min(size, most_rows(data, size) or size)
        self._parts = (
            arrays_.rows_of_float_type(parts, rows)
            for rows in _slices(num_rows, size)
        )
        self.num_rows = num_rows
        self.num_batches = -(-num_rows // size)

    def __iter__(self) -> Iterator[Batch]:
        """Yields each `Batch`."""
        start, size = 0, None
        for inputs, targets, labels in self._parts:
            valid = arrays_.num_rows(inputs)
            size = self._size(max(size or 0, valid) if self._fills else valid)
            chosen = np.minimum(np.arange(size), valid - 1)
            places = self._places(start + chosen)
            rows = _chosen(RowsOf(inputs, places, targets), chosen)
            yield Batch(rows, valid, labels)
            start += valid
        if size is None:
            raise Refusal(
                "`x` must have at least one row. Received: "
                "data without a batch (an iterator that was used up?)"
            )

    def _size(self, num_rows: int) -> int:
        size = divisible(num_rows)
        if size == num_rows or self._fills:
            return size
        raise Refusal(
            "with `vectorized=False` a batch is not padded, and under this "
            "`keras.distribution` its rows must divide evenly over the "
            "devices. Choose a `batch_size` that makes each batch a multiple "
            f"of {divisible(1)} rows. Received: a batch of {num_rows}"
        )

    def _places(self, positions: Array) -> Array:
        if self._rows is not None:
            return self._rows[positions]
        places = self._first_row + positions
        if places[-1] >= _checks.NO_ROW_BEYOND:
            raise Refusal(
                "rows are numbered below 2**31. Received: "
                f"first_row={self._first_row}, and a row {places[-1]}"
            )
        return places.astype("int32")

    def _inputs_of(
        self, x: Given, most_rows: Function, steps: int | None
    ) -> Iterator[Given]:
        is_dataset = isinstance(x, keras.utils.PyDataset)
        batches = _batches_of_dataset(x) if is_dataset else iter(x)
        # `islice` takes no batch beyond the last.
        for batch in itertools.islice(batches, steps):
            inputs, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
            parts = (
                arrays_.of(inputs, "x"),
                self._targets_of(y),
                _labels(Labels(y, weight)) if self._takes_labels else Labels(),
            )
            if arrays_.are_empty(parts):  # what a filter left of a batch
                continue
            num_rows = arrays_.num_rows(parts)
            parts = arrays_.rows_of(parts, slice(0, num_rows))
            data = RowsOf(parts[0], None, parts[1])
            size = most_rows(data, num_rows) or num_rows
            if size < num_rows:
                self.num_batches = None  # each is cut into several
            for rows in _slices(num_rows, size):
                yield arrays_.rows_of(parts, rows)
        if is_dataset:
            x.on_epoch_end()

    def _targets_of(self, y: Given) -> Given:
        if not self._takes_targets:
            return None
        if y is None:
            raise Refusal(
                "with `y=True` each batch must contain its targets: `(x, y)` "
                "or `(x, y, sample_weight)`. Received: a batch without targets"
            )
        return arrays_.of(y, "y")


def _check_none_given(x: Given, labels: Labels) -> None:
    if (labels.y is None or labels.y is True) and (
        labels.sample_weight is None
    ):
        return
    raise Refusal(
        "`y` and `sample_weight` need `x` as arrays. Leave them out: batches "
        "must contain them, as `(x, y)` or `(x, y, sample_weight)`. Received: "
        f"x of type {type(x).__name__}, which yields batches"
    )


def _labels(given: Labels) -> Labels:
    if given.y is None:
        raise Refusal(
            "`evaluate` needs targets: pass `y`, or batches "
            "`(x, y)`. Received: y=None, and none with the data"
        )
    weight = given.sample_weight
    return Labels(
        arrays_.of(given.y, "y"),
        None if weight is None else arrays_.of(weight, "sample_weight"),
    )


def _batches_of_dataset(x: keras.utils.PyDataset) -> Iterator[Given]:
    x.on_epoch_begin()
    count = x.num_batches
    for number in itertools.count() if count is None else range(count):
        yield x[number]


def _slices(num_rows: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, num_rows, size))


def _length(x: Given) -> int | None:
    try:
        return len(x)
    except TypeError:  # a generator, or a dataset of unknown length
        return None


def _num_batches(x: Given, steps: int | None) -> int | None:
    """How many batches an iterable has; None if it does not tell."""
    is_endless = False
    if isinstance(x, keras.utils.PyDataset):
        size = x.num_batches
        is_endless = size is None
    else:
        size = _length(x)
        if hasattr(x, "cardinality"):  # a `tf.data.Dataset`
            is_endless = int(x.cardinality()) == -1
    if steps is None and is_endless:
        raise Refusal(
            "`x` has no end. Say how many batches to take: "
            f"`steps=...`. Received: x of type {type(x).__name__}, steps=None"
        )
    if steps is None or size is None:
        return steps or size
    return min(size, steps)


def first_rows(data: RowsOf, size: int) -> RowsOf:
    """The first rows of a `RowsOf` with arrays, as tensors, with padding.

    Args:
        data: `RowsOf`; its `rows` may be None.
        size: Integer, the number of rows.
    """
    data = arrays_.mapped(
        lambda leaf: (
            ops.convert_to_numpy(leaf) if ops.is_tensor(leaf) else leaf
        ),
        data,
    )
    leaves = [leaf for leaf in tree.flatten(data.inputs) if leaf is not None]
    chosen = np.minimum(np.arange(size), leaves[0].shape[0] - 1)
    return _chosen(data._replace(rows=np.arange(size, dtype="int32")), chosen)


def _chosen(data: RowsOf, chosen: Array) -> RowsOf:
    """Some rows of a `RowsOf`; its attribute `rows` stays whole."""

    def filled(part: Structure) -> Structure:
        return arrays_.mapped(_distributed, arrays_.rows_of(part, chosen))

    return RowsOf(
        filled(data.inputs), _distributed(data.rows), filled(data.targets)
    )


def _distributed(array: Array) -> Tensor:
    """An argument with its rows spread over the devices of the distribution."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return _backend.argument(array)
    tensor = ops.convert_to_tensor(array)
    layout = distribution.get_data_layout(tensor.shape)
    return keras.distribution.distribute_tensor(tensor, layout)


def _check_processes() -> None:
    """Refuses several processes, since each has only a part of an array."""
    distribution = keras.distribution.distribution()
    if distribution is None or _backend.is_local(distribution.device_mesh):
        return
    raise Refusal(
        "the current `keras.distribution` spreads arrays over several "
        "processes, each of which would see a part of the result. Let each "
        "process predict with its own model: "
        "`weights = model.get_weights()`, "
        "`keras.distribution.set_distribution(None)`, "
        "`local = keras.models.clone_model(model)`, "
        "`local.set_weights(weights)`; then "
        "`kerasdrop.mc_predict(local, x[part], rows=part, seed=0)` returns the "
        "numbers that these rows have in a prediction of all rows. To continue "
        "a schedule in a layer, set `layer.step = ...`."
    )


def divisible(num_rows: int) -> int:
    """The next number of rows that is a multiple of the devices."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return num_rows
    mesh = distribution.device_mesh
    axis = mesh.axis_names.index(distribution.batch_dim_name)
    num_parts = mesh.shape[axis]
    return -(-num_rows // num_parts) * num_parts
