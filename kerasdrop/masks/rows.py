"""A scope that numbers the rows of a part of a batch in training calls."""

import threading

import keras
from keras import ops

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop._refusals import blame
from kerasdrop._types import Given
from kerasdrop._types import Tensor

# This is thread-local because torch.compile refuses context variables.
_current = threading.local()

_TRACED_ONCE = (
    "row_scope: it was entered outside of a function that is compiled. Such a "
    "function is traced once, and would keep these row numbers in every "
    "later call. Enter the scope inside the function that is compiled "
    "(`jax.jit`, `tf.function`, the `train_step` of a model that Keras' `fit` "
    "trains), with numbers that the function gets as arguments or computes."
)


class row_scope:
    """Sets the row numbers from which masks are drawn, inside the block.

    The mask of a row depends on the seed, the step and the number of the row.
    In training, rows are numbered by their position in the batch. If a batch is
    a part of a larger one, this scope says which part. Several processes or
    devices then draw the masks that a single one would draw for the same rows.

    Without it, the processes of `torch.distributed` and the replicas of a
    `tf.distribute` strategy number their rows in ranges that do not overlap.
    Their masks differ from each other, but also from those of a single process.
    JAX numbers the rows of a global array globally. Inside `jax.vmap`,
    `jax.pmap` and `jax.shard_map`, which hide the other rows, each part has the
    masks of the first rows unless this scope says otherwise.

    The scope applies to the thread that entered it. When its numbers are read
    depends on the code inside:

    - Eager code reads them at each call of a layer. So does `torch.compile`,
      which compiles again for a new integer; pass a tensor to avoid this.
    - A compiled function (`jax.jit`, `tf.function`, Keras' `fit` on JAX and
      TensorFlow) reads them once, when it is traced. Enter the scope inside
      that function: in `fit`, inside the model's `train_step`. A scope around
      the function is refused, because later calls would not see a change.
    - Under a strategy of TensorFlow, enter the scope inside the function that
      `strategy.run` calls.

    Scopes nest. Only the innermost counts, and its numbers are not combined
    with a rank. A scope may be entered again, also by several threads at a
    time. `mc_predict` and `MonteCarlo` have arguments of the same names and
    ignore the scope.

    Args:
        rows: Integers `(batch,)`, the number of each row.
        first_row: Integer or scalar tensor, the number of the first row; the
            others follow it. All layers inside must then see batches of the
            same size.

    Both may be tensors, also traced ones, whose lowest 32 bits count.

    Raises:
        ValueError: If not exactly one of the two is given, or if it is not an
            integer from 0 to 2**31 - 1; in a call of a layer, if its batch
            has another number of rows, or if the scope was entered outside
            the compiled function in which the layer is called.

    Example:

    >>> rank = 1  # of this process
    >>> with row_scope(first_row=rank * len(x)):
    ...     y_pred = model(x, training=True)
    """

    def __init__(
        self, rows: Tensor | None = None, first_row: Tensor | None = None
    ) -> None:
        if (rows is None) == (first_row is None):
            raise ValueError(
                "row_scope: pass one of `rows` (the number of each row) and "
                "`first_row` (the number of the first row). "
                f"Received: rows={rows!r}, first_row={first_row!r}"
            )
        if rows is None:
            self._rows = None
            self._first_row = _checked_first_row(first_row)
        else:
            self._rows = _checked_rows(rows)
            self._first_row = None

    def __enter__(self) -> "row_scope":
        outer = current_scope()
        _current.scope = _Entered(self._rows, self._first_row, outer)
        return self

    def __exit__(self, *exception: object) -> None:
        _current.scope = _current.scope.outer


class _Entered:
    """One block of a `row_scope`, which several threads may enter.

    Args:
        rows: As in `row_scope`, or None.
        first_row: As in `row_scope`, or None.
        outer: The block around it, or None.
    """

    def __init__(
        self, rows: Tensor | None, first_row: Tensor | None, outer: Given
    ) -> None:
        self.outer = outer
        self._rows = rows
        self._first_row = first_row
        self._is_inside_trace = _backend.is_tracing()
        self._num_rows: int | None = None

    def rows_of(self, inputs: Tensor) -> Tensor:
        """The row numbers of the inputs of a layer, int32 `(batch,)`."""
        if _backend.is_tracing() and not self._is_inside_trace:
            raise ValueError(_TRACED_ONCE)
        if self._rows is not None:
            return self._rows
        num_rows = inputs.shape[0]
        if isinstance(num_rows, int):
            self._check_size(num_rows)
        numbers = ops.arange(ops.shape(inputs)[0], dtype="int32")
        return numbers + self._first_row

    def _check_size(self, num_rows: int) -> None:
        if self._num_rows not in (None, num_rows):
            raise ValueError(
                "row_scope: with `first_row`, all layers inside must see the "
                "same number of rows, because the numbers of other rows are "
                f"unknown. Received: a batch of {num_rows} rows after one of "
                f"{self._num_rows}. Keep the batch as the first axis where "
                "units are dropped; for several models, enter a scope for each"
            )
        self._num_rows = num_rows


def current_scope() -> _Entered | None:
    """The innermost `row_scope` that this thread has entered, or None."""
    return getattr(_current, "scope", None)


def _checked_first_row(value: Given) -> Tensor:
    if not ops.is_tensor(value):
        return _checks.row(value, "first_row")
    _check_tensor(value, "first_row", 0)
    return ops.cast(value, "int32")


def _checked_rows(value: Given) -> Tensor:
    if not ops.is_tensor(value):
        with blame("row_scope"):
            return ops.convert_to_tensor(_checks.rows(value))
    _check_tensor(value, "rows", 1)
    return ops.cast(value, "int32")


def _check_tensor(value: Given, name: str, num_axes: int) -> None:
    dtype = keras.backend.standardize_dtype(value.dtype)
    if "int" not in dtype or len(value.shape) != num_axes:
        shape = "a scalar" if num_axes == 0 else "of the shape `(batch,)`"
        raise ValueError(
            f"row_scope: argument `{name}` must be integers, {shape}. "
            f"Received: a tensor of dtype {dtype} and shape "
            f"{tuple(value.shape)}"
        )
