"""The statistics of batches, put together."""

import tracemalloc

import numpy as np
import pytest

from kerasdrop.montecarlo.statistics.joining import Joined
from tests.support import versions

ROWS = np.arange(7 * 3, dtype="float32").reshape(7, 3)
SIZE = 2**20


def parts_of(rows, *sizes):
    for part in np.split(rows, np.cumsum(sizes)):
        yield {"variance": [part, part[:, 0] > 5.0], "mean": part + 1.0}


@pytest.mark.parametrize("num_rows", [7, None])
@pytest.mark.parametrize("sizes", [(), (3,), (3, 3)])
def test_rows_in_their_order(num_rows, sizes):
    joined = Joined(num_rows)
    for part in parts_of(ROWS, *sizes):
        joined.update(part)
    found = joined.result()
    assert list(found) == ["variance", "mean"]
    np.testing.assert_array_equal(found["mean"], ROWS + 1.0)
    np.testing.assert_array_equal(found["variance"][0], ROWS)
    np.testing.assert_array_equal(found["variance"][1], ROWS[:, 0] > 5.0)
    assert found["variance"][1].dtype == bool


@pytest.mark.parametrize("num_rows", [7, None])
def test_rows_that_did_not_come(num_rows):
    joined = Joined(num_rows)
    first, second, _ = parts_of(ROWS, 3, 3)
    joined.update(first)
    joined.update(second)
    assert joined.num_rows == 6
    np.testing.assert_array_equal(joined.result()["mean"], ROWS[:6] + 1.0)


@pytest.mark.parametrize("num_rows", [7, None])
def test_ctrl_c_between_two_arrays(num_rows):
    class Interrupting:
        shape = (3, 3)

        @property
        def dtype(self):
            raise AssertionError

        def __len__(self):
            raise KeyboardInterrupt

    joined = Joined(num_rows)
    first, second, _ = parts_of(ROWS, 3, 3)
    joined.update(first)
    with pytest.raises(KeyboardInterrupt):
        joined.update({**second, "mean": Interrupting()})
    found = joined.result()
    np.testing.assert_array_equal(found["variance"][0], ROWS[:3])
    np.testing.assert_array_equal(found["mean"], ROWS[:3] + 1.0)


def test_what_may_not_be_written_to_is_copied():
    rows = ROWS.copy()
    rows.flags.writeable = False
    joined = Joined(7)
    joined.update({"mean": rows})
    assert joined.result()["mean"].flags.writeable


@versions.needs_keras(
    "3.15",
    "leaves what `keras.tree` was given to the garbage collector",
    backend="torch",
)
def test_nothing_is_held_twice():
    joined = Joined(16)
    tracemalloc.start()
    try:
        for _ in range(16):
            joined.update({"mean": np.ones((1, SIZE), "uint8")})
        joined.result()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 18 * SIZE


def test_rows_of_different_shapes():
    joined = Joined(None)
    joined.update({"mean": np.zeros((2, 5))})
    with pytest.raises(ValueError, match=r"`batch_size` that divides.*\(5,\)"):
        joined.update({"mean": np.zeros((2, 4))})
