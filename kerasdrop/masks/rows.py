"""Which row of the whole batch each row is: a scope around training calls."""

import threading

import keras
from keras import ops

from kerasdrop import _backend
from kerasdrop import _checks
from kerasdrop._refusals import blame
from kerasdrop._types import Given
from kerasdrop._types import Tensor

# A thread-local and not a context variable: torch.compile refuses the latter.
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
    In training, rows are numbered by their place in the batch. Where a batch
    is a part of a larger one, this scope says which part: then several
    processes or devices draw the masks that one would draw for the same rows.

    Without it, the processes of `torch.distributed` and the replicas of a
    `tf.distribute` strategy take their row numbers from blocks that do not
    overlap: their masks differ, but they are not those of a single process.
    JAX numbers the rows of a global array globally; inside `jax.vmap`,
    `jax.pmap` and `jax.shard_map`, which hide the other rows, each part has
    the masks of the first rows unless this scope says otherwise.

    Where the numbers are read:

    - In eager code, at each call of a layer. The same holds for
      `torch.compile`, which compiles anew for a new integer (pass a tensor).
    - In a function that is compiled (`jax.jit`, `tf.function`, Keras' `fit`
      on JAX and TensorFlow), once, when it is traced. So enter the scope
      inside that function: in `fit`, inside the model's `train_step`. Around
      it, the scope is refused, since later calls would not see a change.
    - In the thread that entered it. Under a strategy of TensorFlow, enter it
      inside the function that `strategy.run` calls.

    Scopes nest; the innermost counts, and what it says is not combined with
    a rank. `mc_predict` and `MonteCarlo` have arguments of the same names and
    do not look at it.

    Args:
        rows: Integers `(batch,)`, the number of each row.
        first_row: Integer or scalar tensor, the number of the first row; the
            others follow it. All layers inside must then see batches of one
            size.

    Both may be tensors, traced ones too, of which the lowest 32 bits count.

    Raises:
        ValueError: If not exactly one of the two is given, if it is no
            integer from 0 to 2**31 - 1; in a call of a layer, if its batch
            has another number of rows, or if the scope was entered outside
            of the compiled function that the layer is called in.

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
                "row_scope: give one of `rows` (the number of each row) and "
                "`first_row` (that of the first, which the others follow). "
                f"Received: rows={rows!r}, first_row={first_row!r}"
            )
        if rows is None:
            self._rows = None
            self._first_row = _checked_first_row(first_row)
        else:
            self._rows = _checked_rows(rows)
            self._first_row = None

    def __enter__(self) -> "row_scope":
        self._outer = getattr(_current, "scope", None)
        self._is_inside_trace = _backend.is_tracing()
        self._num_rows = None
        _current.scope = self
        return self

    def __exit__(self, *exception: object) -> None:
        _current.scope = self._outer

    def rows_of(self, inputs: Tensor) -> Tensor:
        """The row numbers of the inputs of a layer: int32 `(batch,)`."""
        if _backend.is_tracing() and not self._is_inside_trace:
            raise ValueError(_TRACED_ONCE)
        if self._rows is not None:
            return self._rows
        num_rows = inputs.shape[0]
        if isinstance(num_rows, int):
            self._check_size(num_rows)
        numbers = ops.arange(ops.shape(inputs)[0], dtype="int32")
        return numbers + self._first_row

    def _check_size(self, num_rows: Tensor) -> None:
        if self._num_rows not in (None, num_rows):
            raise ValueError(
                "row_scope: with `first_row`, all layers inside must see the "
                "same number of rows, or it would not be known which rows "
                f"are meant. Received: a batch of {num_rows} rows after one "
                f"of {self._num_rows}. Keep the batch as the first axis where "
                "units are dropped; enter a scope for each of several models"
            )
        self._num_rows = num_rows


def current_scope() -> "row_scope | None":
    """The innermost `row_scope` of this thread, or None."""
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
            f"Received: a tensor of {dtype}, of the shape {tuple(value.shape)}"
        )
