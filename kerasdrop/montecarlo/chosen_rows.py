"""Which rows of a batch a self-check takes."""

import numpy as np
from keras import tree

MOST_ROWS = 5


def chosen(inputs, most_rows, batch_size):
    """Rows for the check: those with the most and the fewest zeros first.

    Args:
        inputs: Numpy arrays `(batch, ...)`.
        most_rows: Integer.
        batch_size: Integer.

    Returns:
        Integers, in their order: not as many as the batch has, so that what
        depends on the number of rows is seen. Of a few rows some come twice.
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
    few = batch_size <= most_rows
    return np.resize(found, batch_size + 1) if few else found


def other_order(num_rows, any_number):
    """The last half of the rows, reversed; as often as they fit, if asked."""
    half = np.arange(num_rows)[::-1][: -(-num_rows // 2)]
    return half if any_number else np.resize(half, num_rows)
