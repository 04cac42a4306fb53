"""`RNN.inner_loop` asks its layer for a cell, which may be a function.

`kerasdrop.layers.DropoutRNN` runs the loop with another cell than its own.
"""

import keras
import numpy as np
from keras import layers
from keras import ops

INPUTS = np.random.default_rng(0).normal(size=(4, 4, 3)).astype("float32")


class View:
    """A layer with another cell."""

    def __init__(self, layer, cell):
        self.layer, self.cell = layer, cell

    def __getattr__(self, name):
        return getattr(self.layer, name)


class Own(layers.RNN):
    def inner_loop(self, sequences, initial_state, mask, training=False):
        def cell(inputs, states):
            output, states = self.cell(inputs, states, training=training)
            return 2.0 * output, states

        view = View(self, cell)
        return layers.RNN.inner_loop(
            view, sequences, initial_state, mask, training
        )


def test_the_loop_runs_the_cell_of_a_view():
    plain = layers.RNN(layers.LSTMCell(6), return_sequences=True)
    expected = 2.0 * ops.convert_to_numpy(plain(INPUTS))
    doubled = Own(plain.cell, return_sequences=True)(INPUTS)
    np.testing.assert_allclose(
        ops.convert_to_numpy(doubled), expected, rtol=1e-5, atol=1e-6
    )


def test_a_cell_without_the_argument_may_be_told_training():
    class Cell(keras.layers.Layer):
        state_size = 3

        def call(self, inputs, states):
            return inputs, [inputs]

    output, _ = Cell()(INPUTS[:, 0], [INPUTS[:, 0]], training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(output), INPUTS[:, 0])
