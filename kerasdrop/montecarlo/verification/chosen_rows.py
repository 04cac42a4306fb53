"""Chooses the rows of a batch that a self-check uses."""

import numpy as np
from keras import tree

from kerasdrop._types import Array
from kerasdrop._types import Given

MOST_ROWS = 5


def chosen(inputs: Array, most_rows: int, batch_size: int) -> Array:
    """Chooses rows, one with missing numbers first.

    Those with the most and the fewest zeros follow.

    Args:
        inputs: Numpy arrays `(batch, ...)`.
        most_rows: Integer.
        batch_size: Integer.

    Returns:
        Increasing integers. There are fewer or more than the batch has rows, so
        that a dependence on the number of rows shows; in a small batch some
        rows come twice. If `most_rows` is 1, memory has room for one row at a
        time, and only the samples change the number of rows.
    """
    leaves = [leaf for leaf in tree.flatten(inputs) if leaf is not None]
    num_rows = len(leaves[0])
    zeros = sum(
        np.sum(np.reshape(leaf, (num_rows, -1)) == 0, axis=1) for leaf in leaves
    )
    spread = np.linspace(0, num_rows - 1, MOST_ROWS).astype(int)
    is_missing = np.any([missing(leaf).any(axis=1) for leaf in leaves], axis=0)
    ranked = np.flatnonzero(is_missing)[:1].tolist()
    ranked += [int(np.argmax(zeros)), int(np.argmin(zeros)), *spread.tolist()]
    ranked += range(min(num_rows, MOST_ROWS))
    found = np.sort(list(dict.fromkeys(ranked))[:most_rows])
    few = 1 < most_rows and batch_size <= most_rows
    return np.resize(found, batch_size + 1) if few else found


def missing(leaf: Array) -> Array:
    """Tells which entries of the last axis of each row are NaN or infinite.

    Args:
        leaf: Numpy array `(rows, ...)`.

    Returns:
        Bool `(rows, size)`, or `(rows, 1)` if nothing is missing, as in all
        arrays but those of floats.
    """
    with np.errstate(all="ignore"):  # a sum is the quickest test
        is_whole = leaf.dtype.kind != "f" or np.isfinite(leaf.sum())
    if is_whole:
        return np.zeros((len(leaf), 1), bool)
    size = leaf.shape[-1] if leaf.ndim > 1 else 1
    rows = np.reshape(leaf, (len(leaf), -1, size))
    return ~np.isfinite(rows).all(axis=1)


def others(places: Array, any_number: bool, both: bool) -> list[Array]:
    """Chooses which of these rows run again, to see if rows see each other.

    A row that all others see must be missing in one run. So there are two
    choices, with no row in common.

    Args:
        places: Integers, the position of each row in the data.
        any_number: Whether the model takes other numbers of rows.
        both: Whether to make the second choice, too.

    Returns:
        List of integer arrays of one size: the last half of the rows, reversed,
        and if asked the other rows, repeated to fill the array.
    """
    num_rows = len(places)
    half = np.arange(num_rows)[::-1][: -(-num_rows // 2)]
    rest = np.flatnonzero(~np.isin(places, places[half]))[::-1]
    size = len(half) if any_number else num_rows
    halves = [half, rest] if both and len(rest) else [half]
    return [np.resize(one, size) for one in halves]


def varied(inputs: Array) -> Array:
    """Makes the last row differ from the others if all rows are alike.

    Rows that are alike do not show whether they see each other.

    Args:
        inputs: Numpy arrays `(rows, ...)`.

    Returns:
        Inputs with a made-up last row: its numbers are halved, or set to 1 if
        all are 0. If all inputs are integers, the row is reversed instead. None
        if the rows differ already, or cannot be made to differ.
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
    first, *others = leaf
    if leaf.dtype.kind in "OSU":  # strings
        return any(not np.array_equal(first, row) for row in others)
    return any(first.tobytes() != row.tobytes() for row in others)


def _halved(row: Array) -> Array:
    return row * row.dtype.type(0.5) if np.any(row) else np.ones_like(row)


def _turned(row: Given) -> Given:
    return np.flip(row, axis=tuple(range(1, row.ndim)))
