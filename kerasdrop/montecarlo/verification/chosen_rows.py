"""Which rows of a batch a self-check takes."""

import numpy as np
from keras import tree

from kerasdrop._types import Array
from kerasdrop._types import Given

MOST_ROWS = 5


def chosen(inputs: Array, most_rows: int, batch_size: int) -> Array:
    """Rows for the check: those with the most and the fewest zeros first.

    Args:
        inputs: Numpy arrays `(batch, ...)`.
        most_rows: Integer.
        batch_size: Integer.

    Returns:
        Integers, in their order: not as many as the batch has, so that what
        depends on the number of rows is seen. Of a few rows some come twice.
        If a single one may be taken, memory has room for one at a time: there
        the samples alone are another number.
    """
    leaves = [leaf for leaf in tree.flatten(inputs) if leaf is not None]
    num_rows = len(leaves[0])
    zeros = sum(
        np.sum(np.reshape(leaf, (num_rows, -1)) == 0, axis=1) for leaf in leaves
    )
    spread = np.linspace(0, num_rows - 1, MOST_ROWS).astype(int)
    ranked = [int(np.argmax(zeros)), int(np.argmin(zeros)), *spread.tolist()]
    ranked += range(min(num_rows, MOST_ROWS))
    found = np.sort(list(dict.fromkeys(ranked))[:most_rows])
    few = 1 < most_rows and batch_size <= most_rows
    return np.resize(found, batch_size + 1) if few else found


def others(places: Array, any_number: bool, both: bool) -> list[Array]:
    """Which of these rows are run beside them, to see if rows see each other.

    A row that all others see is in all runs of it. So there are two, each of
    rows that are not in the other one.

    Args:
        places: Integers, the place of each row in the data.
        any_number: Whether other numbers of rows can be run.
        both: Whether to look for such a row.

    Returns:
        List of arrays of integers of one size: the last half of the rows,
        reversed, and the rest if asked, as often as they fit.
    """
    num_rows = len(places)
    half = np.arange(num_rows)[::-1][: -(-num_rows // 2)]
    rest = np.flatnonzero(~np.isin(places, places[half]))[::-1]
    size = len(half) if any_number else num_rows
    halves = [half, rest] if both and len(rest) else [half]
    return [np.resize(one, size) for one in halves]


def varied(inputs: Array) -> Array:
    """A last row that differs from the others, where all rows are alike.

    Alike rows do not show whether they see each other.

    Args:
        inputs: Numpy arrays `(rows, ...)`.

    Returns:
        Such inputs, the last row of which is made up: half of the numbers, or
        ones for zeros; or, of integers alone, these turned round. None if the
        rows differ as they are, or cannot.
    """
    leaves = [leaf for leaf in tree.flatten(inputs) if leaf is not None]
    if len(leaves[0]) < 2 or any(map(_differ, leaves)):
        return None
    floats = [leaf for leaf in leaves if leaf.dtype.kind == "f"]
    change = _halved if floats else _turned

    def with_last(leaf: Array) -> Array:
        if leaf is None or (floats and leaf.dtype.kind != "f"):
            return leaf
        return np.concatenate([leaf[:-1], change(leaf[-1:])])

    made = tree.map_structure(with_last, inputs)
    found = [leaf for leaf in tree.flatten(made) if leaf is not None]
    return made if any(map(_differ, found)) else None


def _differ(leaf: Array) -> bool:
    return any(leaf[0].tobytes() != row.tobytes() for row in leaf[1:])


def _halved(row: Array) -> Array:
    return row * row.dtype.type(0.5) if np.any(row) else np.ones_like(row)


def _turned(row: Given) -> Given:
    return np.flip(row, axis=tuple(range(1, row.ndim)))
