"""`_backend.is_repeated` tells code that runs once from code that repeats.

What it reads is private: JAX' stack of traces, the classes and name scopes of
TensorFlow's graphs, the interpreters of `torch.func`.
"""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import _backend

BACKEND = keras.backend.backend()
X = np.ones((3, 2), "float32")


def seen_in(run):
    """What `is_repeated` says in the function that `run` gets, when compiled.

    Args:
        run: Function of (a function of one tensor, a tensor).
    """
    seen = []

    def traced(x):
        since = _backend.trace()

        def look(x):
            seen.append(_backend.is_repeated(since))
            return x

        assert not _backend.is_repeated(since)
        run(look, ops.convert_to_tensor(x))
        assert not _backend.is_repeated(since)
        return x

    _backend.compiled(traced, keras.layers.Layer(name="none"))(X)
    assert seen
    return set(seen)


def scan(look, x):
    ops.scan(lambda carry, one: (carry, look(one)), x[0], x)


def while_loop(look, x):
    ops.while_loop(
        lambda number, _: number < 3,
        lambda number, x: (number + 1, look(x)),
        (ops.zeros((), "int32"), x),
    )


LOOPS = {
    "scan": scan,
    "map": ops.map,
    "while_loop": while_loop,
    "fori_loop": lambda look, x: ops.fori_loop(0, 3, lambda _, x: look(x), x),
    "a loop in a condition": lambda look, x: ops.cond(
        ops.sum(x) > 0.0, lambda: ops.map(look, x), lambda: x
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_the_body_of_a_loop_is_repeated_where_it_is_traced(name):
    # Keras on TensorFlow tries what it maps, first.
    assert (True in seen_in(LOOPS[name])) == (BACKEND != "torch")


def test_what_is_mapped_is_repeated():
    assert seen_in(lambda look, x: ops.vectorized_map(look, x)) == {True}


def test_a_branch_is_not():
    def cond(look, x):
        ops.cond(ops.sum(x) > 0.0, lambda: look(x), lambda: x)

    assert seen_in(cond) == {False}


def test_what_is_rematerialised_is_not():
    assert seen_in(lambda look, x: keras.remat(look)(x)) == {False}


@pytest.mark.skipif(BACKEND != "jax", reason="a contract of JAX")
def test_what_is_differentiated_is_not_but_in_a_loop():
    import jax

    assert seen_in(lambda look, x: jax.grad(lambda x: look(x).sum())(x)) == {
        False
    }
    assert seen_in(lambda look, x: jax.lax.map(jax.checkpoint(look), x)) == {
        True
    }


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch runs eagerly here")
def test_a_function_that_is_compiled_on_its_own_is_repeated():
    def inner(look, x):
        if BACKEND == "jax":
            import jax

            jax.jit(look)(x)
        else:
            import tensorflow as tf

            tf.function(look)(x)

    assert seen_in(inner) == {True}
