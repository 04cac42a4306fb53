"""The step counts the batches that were trained on, and nothing else."""

import keras
import numpy as np
import pytest

import kerasdrop
from kerasdrop import schedules

X = np.random.default_rng(0).normal(size=(56, 8)).astype("float32")


def trained(data, jit_compile, **arguments):
    """The layer and the weights after three epochs of seven batches."""
    keras.utils.set_random_seed(0)
    schedule = schedules.Linear(0.0, 0.5, 42)
    layer = kerasdrop.layers.Dropout(schedule, seed=1)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(8), layer, keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse", jit_compile=jit_compile, **arguments)
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    return layer, model.get_weights()


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 3])
def test_data_of_unknown_length(jit_compile, steps_per_execution):
    tf = pytest.importorskip("tensorflow")
    backend = keras.backend.backend()
    if backend == "torch" and (jit_compile or steps_per_execution > 1):
        pytest.skip("slow to compile on PyTorch, or not there")
    arguments = {"jit_compile": jit_compile}
    if steps_per_execution > 1:
        arguments["steps_per_execution"] = steps_per_execution
    known = tf.data.Dataset.from_tensor_slices((X, X[:, :1])).batch(8)
    unknown = known.filter(lambda x, y: True)
    layer, weights = trained(known, **arguments)
    other, others = trained(unknown, **arguments)
    assert (layer.step, other.step) == (21, 21)
    assert layer.rate == other.rate == 0.25
    for one, two in zip(weights, others):
        np.testing.assert_allclose(one, two, rtol=1e-6)


class Cell(keras.layers.Layer):
    """Adds what is left of the inputs to its state."""

    state_size = 8

    def __init__(self):
        super().__init__()
        self.drop = kerasdrop.layers.Dropout(0.5, seed=3, name="drop")

    def call(self, inputs, states, training=False):
        state = states[0] + self.drop(inputs, training=training)
        return state, [state]


@pytest.mark.parametrize("unroll", [False, True])
def test_a_layer_in_a_recurrent_cell_counts_as_the_guide_says(unroll):
    cell = Cell()
    layer = keras.layers.RNN(cell, return_sequences=True, unroll=unroll)
    x = np.ones((4, 5, 8), "float32")
    if keras.backend.backend() == "jax" and not unroll:
        # All steps would have one mask, outside of `fit` too.
        with pytest.raises(RuntimeError, match="'drop'.*unroll=True"):
            layer(x, training=True)
        state = [v.value for v in layer.non_trainable_variables]
        with pytest.raises(RuntimeError, match="'drop'.*unroll=True"):
            layer.stateless_call([], state, x, training=True)
        assert cell.drop.step == 0
        return
    outputs = keras.ops.convert_to_numpy(layer(x, training=True))
    first_call = 0 if unroll else 1  # of Keras, whose outputs are left out
    assert cell.drop.step == 5 + first_call
    alone = kerasdrop.layers.Dropout(0.5, seed=3)
    alone.step = first_call
    masks = [alone(x[:, 0], training=True) for _ in range(5)]
    masks = [keras.ops.convert_to_numpy(mask) for mask in masks]
    np.testing.assert_array_equal(outputs, np.cumsum(np.stack(masks, 1), 1))


def test_a_layer_around_each_time_step_counts_each():
    drop = kerasdrop.layers.Dropout(0.5)
    layer = keras.layers.TimeDistributed(drop)
    layer(np.ones((4, 5, 8), "float32"), training=True)
    assert drop.step == 5
