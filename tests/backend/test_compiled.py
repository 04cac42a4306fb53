"""What `compiled` returns runs what was traced for such a call, on TensorFlow.

A call like the one before goes past what `tf.function` looks at. Here a call
differs in each of these things.
"""

import contextlib

import keras
import numpy as np
import pytest

from kerasdrop import _backend

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="It is a `tf.function`."
)


@pytest.fixture
def run():
    """A compiled sum of what it gets, which tells how often it was traced."""
    traces = []

    def total(*args):
        traces.append(args)
        return sum(
            keras.ops.sum(keras.ops.cast(leaf, "float32"))
            for leaf in keras.tree.flatten(args)
            if leaf is not None
        )

    compiled = _backend.compiled(
        total, keras.Sequential([keras.Input((1,))]), any_size=False
    )

    def run(*args):
        return float(compiled(*args)), len(traces)

    return run


def tensor(*shape, dtype="float32"):
    return keras.ops.ones(shape, dtype)


def test_equal_arguments_are_traced_once(run):
    args = {"a": tensor(2), "b": None}, [tensor(3, dtype="int32")]
    assert [run(*args)[1] for _ in range(3)] == [1, 1, 1]
    # Other values are no other arguments.
    again = {"a": 2.0 * tensor(2), "b": None}, [tensor(3, dtype="int32")]
    assert run(*again) == (7.0, 1)


OTHERS = {
    "size": [tensor(4)],
    "rank": [tensor(2, 1)],
    "type": [tensor(2, dtype="float16")],
    "number": [3],
    "another number": [4],
    "more": [tensor(2), tensor(2)],
    "name": [{"a": tensor(2)}],
    "another name": [{"b": tensor(2)}],
    "list": [[tensor(2)]],
    "nothing": [tensor(2), None],
}


def test_other_arguments_are_told_apart(run):
    for _ in range(2):
        for args in OTHERS.values():
            expected = sum(
                float(np.sum(leaf))
                for leaf in keras.tree.flatten(args)
                if leaf is not None
            )
            assert run(*args)[0] == expected
    assert run(tensor(2))[0] == 2.0
    assert run(tensor(2))[1] == len(OTHERS) + 1


def test_where_it_runs_is_told_apart(run):
    import tensorflow as tf

    @contextlib.contextmanager
    def eagerly():
        tf.config.run_functions_eagerly(True)
        try:
            yield
        finally:
            tf.config.run_functions_eagerly(False)

    x = tensor(2)
    assert run(x) == (2.0, 1)
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert run(x) == (2.0, 2)
    for count in (3, 4):
        with eagerly():
            assert run(x) == (2.0, count)
    assert run(x) == (2.0, 4)
