"""Cuts data into batches of rows, each row with its place in the data."""

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
from kerasdrop._types import Function
from kerasdrop._types import Given
from kerasdrop._types import Structure
from kerasdrop._types import Tensor


class RowsOf(NamedTuple):
    """Inputs together with each row's place in the data.

    Attributes:
        inputs: As the model takes them.
        rows: int32 tensor `(batch,)`.
        targets: List of a tensor for each output of the model, or None.
    """

    inputs: Given
    rows: Given
    targets: Given = None


class Batches:
    """The rows of some data, some at a time.

    Every batch has the same size, so that one compiled function serves all:
    the last is filled up with copies of its last row, which the reader cuts.
    Under a `keras.distribution` each batch is spread over its devices, and
    filled up until it divides. Only if rows of a batch may see each other
    nothing is filled up.

    Args:
        x: Tensor, structure of arrays with the same number of rows (None for
            an optional input that is left out; pandas and scipy's sparse
            matrices count as arrays), or an iterable of batches
            (`tf.data.Dataset`, PyTorch `DataLoader`, `keras.utils.PyDataset`,
            generator), each of them `x`, `(x,)`, `(x, y)` or
            `(x, y, sample_weight)`.
        batch_size: Integer; the batches of an iterable have their own.
        most_rows: Function of a `RowsOf`, arrays of any number of rows, and
            of a number of rows, that returns how many of these can be drawn at
            a time, or None.
        first_row: Integer, the place of the first row, the others following.
        rows: None, or integers, the place of each row.
        y: None, or targets: an array or a structure of arrays. True: those
            that come with the batches of an iterable.
        steps: None, or an integer, the batches to take.
        fills: Whether batches are filled up.

    Attributes:
        num_batches: Integer, or None where the data do not tell.
        num_rows: Integer, of all batches together; None for an iterable.
        targets: List of what came with the inputs of an iterable so far,
            pairs of y and sample_weight.
    """

    def __init__(
        self,
        x: Tensor,
        batch_size: int,
        most_rows: Function,
        first_row: int,
        rows: Tensor = None,
        y: Given = None,
        steps: Given = None,
        fills: bool = True,
    ) -> None:
        _check_processes()
        self._fills = fills
        self.num_rows = None
        self.targets: list[Given] = []
        self._first_row = first_row
        self._rows = None if rows is None else _checks.rows(rows)
        self._takes_targets = y is True
        if is_iterable_of_batches(x):
            if self._rows is not None or not (y is None or y is True):
                raise Refusal(
                    "`rows` and `y` go with `x` as arrays; "
                    "`y=True` takes the targets that come with the batches. "
                    f"Received: x of type {type(x).__name__}, which hands out "
                    "batches"
                )
            self.num_batches = _num_batches(x, steps)
            self._parts = self._inputs_of(x, most_rows, steps)
        else:
            if y is True:
                raise Refusal(
                    "`y=True` takes the targets that come with "
                    "batches. Pass the targets themselves. Received: x of "
                    f"type {type(x).__name__}, which has none"
                )
            arrays = _arrays(x, "x")
            y = [] if y is None else tree.flatten(_arrays(y, "y"))
            given = [] if self._rows is None else [self._rows]
            num_rows = _num_rows([arrays, y, given])
            if steps is not None:
                num_rows = min(num_rows, steps * batch_size)
            size = min(batch_size, num_rows)
            data = RowsOf(arrays, None, y or None)
            size = min(size, most_rows(data, size) or size)
            self._parts = _slices((arrays, y or None), num_rows, size)
            self.num_rows = num_rows
            self.num_batches = -(-num_rows // size)

    def __iter__(self) -> Iterator[Given]:
        """Yields a `RowsOf` and how many rows of it are not filling."""
        start, size = 0, None
        for inputs, targets in self._parts:
            valid = _num_rows(inputs)
            size = self._size(max(size or 0, valid) if self._fills else valid)
            chosen = np.minimum(np.arange(size), valid - 1)
            places = self._places(start + chosen)
            yield _chosen(RowsOf(inputs, places, targets), chosen), valid
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
            "with `vectorized=False` a batch is not filled up, "
            "and under this `keras.distribution` its rows must divide over "
            f"the devices. Choose a `batch_size` that makes batches of a "
            f"multiple of {divisible(1)} rows. Received: a batch of "
            f"{num_rows}"
        )

    def joined_targets(self) -> Given:
        """All targets and sample weights so far; None where there are none."""
        return tuple(
            None
            if not parts or parts[0] is None
            else tree.map_structure(
                lambda *part: np.concatenate(part),
                *(_arrays(part, "y") for part in parts),
            )
            for parts in zip(*self.targets)
        ) or (None, None)

    def _places(self, positions: Tensor) -> Tensor:
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
        if isinstance(x, keras.utils.PyDataset):
            count = x.num_batches
            numbers = itertools.count() if count is None else range(count)
            batches = (x[number] for number in numbers)
        else:
            batches = iter(x)
        # `islice` takes none beyond the last.
        for batch in itertools.islice(batches, steps):
            inputs, *others = keras.utils.unpack_x_y_sample_weight(batch)
            self.targets.append(others)
            arrays = _arrays(inputs, "x")
            targets = self._targets_of(others[0])
            num_rows = _num_rows([arrays, targets or []])
            data = RowsOf(arrays, None, targets)
            size = most_rows(data, num_rows) or num_rows
            if size < num_rows:
                self.num_batches = None  # each makes several
            yield from _slices((arrays, targets), num_rows, size)

    def _targets_of(self, y: Tensor | None) -> Given:
        if not self._takes_targets:
            return None
        if y is None:
            raise Refusal(
                "with `y=True` each batch must bring its "
                "targets: `(x, y)` or `(x, y, sample_weight)`. Received: a "
                "batch without targets"
            )
        return tree.flatten(_arrays(y, "y"))


def _num_batches(x: Given, steps: int | None) -> int | None:
    """How many batches an iterable hands out; None where it does not tell."""
    is_endless = False
    if isinstance(x, keras.utils.PyDataset):
        size = x.num_batches
        is_endless = size is None
    else:
        size = _length(x)
        if hasattr(x, "cardinality"):  # of a `tf.data.Dataset`
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
    """The first rows of `RowsOf` with arrays, as tensors, filled up.

    Args:
        data: `RowsOf`; its `rows` may be None.
        size: Integer, the number of rows.
    """
    data = _mapped(
        lambda leaf: (
            ops.convert_to_numpy(leaf) if ops.is_tensor(leaf) else leaf
        ),
        data,
    )
    leaves = [leaf for leaf in tree.flatten(data.inputs) if leaf is not None]
    chosen = np.minimum(np.arange(size), leaves[0].shape[0] - 1)
    return _chosen(data._replace(rows=np.arange(size, dtype="int32")), chosen)


def _chosen(data: RowsOf, chosen: Tensor) -> RowsOf:
    """Some rows of `RowsOf`; all of its own `rows`."""

    def filled(part: Tensor) -> Tensor:
        return _mapped(lambda array: _distributed(_dense(array[chosen])), part)

    return RowsOf(
        filled(data.inputs),
        _distributed(data.rows),
        None if data.targets is None else filled(data.targets),
    )


def _distributed(array: Tensor) -> Tensor:
    """A tensor, its rows spread over the devices of `keras.distribution`."""
    tensor = ops.convert_to_tensor(array)
    distribution = keras.distribution.distribution()
    if distribution is None:
        return tensor
    layout = distribution.get_data_layout(tensor.shape)
    return keras.distribution.distribute_tensor(tensor, layout)


def _check_processes() -> None:
    """Each process of a mesh has but a part of each array."""
    distribution = keras.distribution.distribution()
    if distribution is None or _backend.is_local(distribution.device_mesh):
        return
    raise Refusal(
        "the `keras.distribution` that is set here spreads arrays "
        "over several processes, each of which would see a part of the "
        "result. Let each process predict with a model of its own: "
        "`weights = model.get_weights()`, "
        "`keras.distribution.set_distribution(None)`, "
        "`local = keras.models.clone_model(model)`, "
        "`local.set_weights(weights)`; then "
        "`kerasdrop.mc_predict(local, x[part], rows=part, seed=0)` has the "
        "numbers that these rows have in a prediction of all. A schedule in a "
        "layer goes on by `layer.step = ...`."
    )


def divisible(num_rows: int) -> int:
    """The next number of rows that divides over the devices."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return num_rows
    mesh = distribution.device_mesh
    axis = mesh.axis_names.index(distribution.batch_dim_name)
    num_parts = mesh.shape[axis]
    return -(-num_rows // num_parts) * num_parts


def is_iterable_of_batches(x: Tensor) -> bool:
    """Whether `x` hands out batches, rather than being an array of rows."""
    if isinstance(x, keras.utils.PyDataset):
        return True
    is_structure = isinstance(x, (list, tuple, dict))
    is_array = hasattr(x, "__array__") or ops.is_tensor(x) or _is_sparse(x)
    return hasattr(x, "__iter__") and not is_structure and not is_array


def _length(x: Given) -> Given:
    try:
        return len(x)
    except TypeError:  # a generator, or a dataset without an end in sight
        return None


def _slices(
    arrays: tuple[Tensor, None], num_rows: int, size: int
) -> Iterator[Given]:
    for start in range(0, num_rows, size):
        yield _part(arrays, slice(start, start + size))


def _part(arrays: tuple[Tensor, None], rows: Given) -> tuple[Tensor, None]:
    return _mapped(lambda array: _dense(array[rows]), arrays)


def _mapped(function: Function, arrays: Structure) -> Structure:
    """`function` of each leaf but None, in the structure of `arrays`."""
    return tree.map_structure(
        lambda array: None if array is None else function(array), arrays
    )


def _arrays(x: Tensor, name: str) -> Tensor:
    """`x` with every leaf an array, which a nested list of numbers is not.

    Sparse matrices of scipy stay sparse: their rows are made dense a batch at
    a time.
    """
    leaves = tree.flatten(x)
    if any(isinstance(leaf, (int, float, bool, str)) for leaf in leaves):
        raise Refusal(
            f"`{name}` must be an array, or a structure of arrays. "
            f"Received: {type(x).__name__} of numbers. Make it an array, e.g. "
            f"`numpy.array({name})`."
        )
    return _mapped(lambda leaf: _array(leaf, name), x)


def _array(x: Tensor, name: str) -> Tensor:
    if _is_sparse(x):
        return _of_float_type(x.tocsr())
    if hasattr(x, "to_numpy"):  # a series or a frame of pandas
        return _of_float_type(_of_pandas(x, name))
    return _of_float_type(
        ops.convert_to_numpy(x) if ops.is_tensor(x) else np.asarray(x)
    )


def _of_float_type(array: Tensor) -> Tensor:
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(keras.config.floatx(), copy=False)
    return array


def _of_pandas(x: Given, name: str) -> Tensor:
    """The numbers of a frame or series, missing ones being NaN."""
    array = x.to_numpy()
    if array.dtype != object:
        return array
    try:  # columns of several types, or that may lack values
        return x.to_numpy(dtype=keras.config.floatx(), na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise Refusal(
            f"`{name}` must have numbers only. Encode or drop the "
            f"other columns. Received: {type(x).__name__} with the types "
            f"{dict(x.dtypes) if x.ndim > 1 else x.dtype}"
        ) from error


def _is_sparse(x: Tensor) -> bool:
    return hasattr(x, "tocsr") and hasattr(x, "toarray")


def _dense(array: Tensor) -> Tensor:
    return array.toarray() if _is_sparse(array) else array


def _num_rows(arrays: Structure) -> int:
    shapes = [
        tuple(array.shape)
        for array in tree.flatten(arrays)
        if array is not None
    ]
    sizes = {shape[0] if shape else 0 for shape in shapes}
    if len(sizes) != 1 or sizes == {0}:
        raise Refusal(
            "`x` must be an array of at least one row, or a "
            "structure of arrays with the same number of rows (and `y` and "
            "`rows`, if given, have as many). Received: arrays of the shapes "
            f"{shapes}"
        )
    return sizes.pop()
