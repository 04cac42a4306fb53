"""Layers that are made, or called, inside a function that is compiled.

PyTorch's is in tests/layers/test_torch_compile_all.py.
"""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers

BACKEND = keras.backend.backend()
X = np.ones((6, 50), "float32")
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="of JAX")
only_tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="of TensorFlow"
)
refused = pytest.raises(RuntimeError, match="'drop'.*stateless_call")


def mask(layer, **arguments):
    return ops.convert_to_numpy(layer(X, **arguments)) == 0


def first_mask():
    return mask(layers.Dropout(0.5, seed=3), training=True)


@only_jax
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_made_and_drawn_inside_is_refused_and_can_be_used_later(
    training,
):
    import jax

    made = []
    cls = layers.Dropout if training else layers.MCDropout

    def call(x):
        made.append(cls(0.5, seed=3, name="drop"))
        return made[-1](x, training=training)

    with refused:
        jax.jit(call)(X)
    # No tracer is in it.
    assert (made[0].rate, made[0].step) == (0.5, 0)
    np.testing.assert_array_equal(mask(made[0], training=True), first_mask())


@only_jax
def test_a_layer_made_outside_is_refused_where_its_state_would_be_lost():
    import jax

    layer = layers.Dropout(0.5, seed=3, name="drop")
    calls = {
        "jit": jax.jit(lambda x: layer(x, training=True)),
        "scan": lambda x: jax.lax.scan(
            lambda _, row: (0, layer(row[None], training=True)), 0, x
        ),
        "eval_shape": lambda x: jax.eval_shape(
            lambda x: layer(x, training=True), x
        ),
    }
    for call in calls.values():
        with refused:
            call(X)
    jax.jit(layer)(X)  # nothing is drawn
    np.testing.assert_array_equal(mask(layer, training=True), first_mask())


@only_jax
def test_what_runs_once_is_not_refused():
    import jax

    layer = layers.Dropout(0.5, seed=3)
    jax.grad(lambda x: layer(x, training=True).sum())(X)
    jax.vmap(lambda x: layer(x[None], training=True))(X)
    assert layer.step == 2


class Cell(keras.layers.Layer):
    """Adds what it has dropped to its state."""

    state_size = 50

    def __init__(self):
        super().__init__()
        self.drop = layers.Dropout(0.5, seed=3, name="drop")

    def call(self, inputs, states, training=False):
        state = states[0] + self.drop(inputs, training=training)
        return state, [state]


@only_jax
def test_a_cell_that_draws_in_a_compiled_loop_is_refused_and_unrolled_is_not():
    x = np.ones((6, 4, 50), "float32")
    for unroll in (False, True):
        cell = Cell()
        recurrent = keras.layers.RNN(cell, unroll=unroll)
        model = keras.Sequential([keras.Input((4, 50)), recurrent])
        model.add(keras.layers.Dense(1))
        model.compile("sgd", "mse")
        if unroll:
            model.fit(x, x[:, 0, :1], verbose=0)
            assert cell.drop.step == 4
            continue
        with pytest.raises(RuntimeError, match="'drop'.*unroll=True"):
            model.fit(x, x[:, 0, :1], verbose=0)
        # Keras has not put the values back.
        with pytest.raises(RuntimeError, match="No epoch runs"):
            _ = cell.drop.rate


@only_tensorflow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_layer_made_inside_lives_as_long_as_the_function(jit_compile):
    import tensorflow as tf

    made = []

    @tf.function(jit_compile=jit_compile)
    def call(x):
        if not made:
            made.append(layers.Dropout(0.5, seed=3))
        return made[0](x, training=True)

    found = [call(X).numpy() == 0 for _ in range(2)]
    np.testing.assert_array_equal(found[0], first_mask())
    assert not np.array_equal(*found)
    assert made[0].step == 2
