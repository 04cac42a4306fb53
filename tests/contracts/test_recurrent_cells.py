"""What the code of recurrent layers of Keras asks about dropout.

`kerasdrop.layers.live_recurrent` and `thinned_cells` answer.
"""

import inspect

import keras
import numpy as np
import pytest
from keras import layers as stock
from keras import ops

from kerasdrop import layers
from kerasdrop.layers.thinned_cells import ThinnedCell
from tests.support import versions

INPUTS = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
CELLS = {
    "LSTM": (stock.LSTMCell, 4, 2),
    "GRU": (stock.GRUCell, 3, 1),
    "SimpleRNN": (stock.SimpleRNNCell, 1, 1),
}
cells = pytest.mark.parametrize("name", CELLS)


numpy = ops.convert_to_numpy


@cells
def test_a_cell_multiplies_by_the_masks_that_it_is_handed(name):
    """By ones, it computes what it does without; by zeros, no input counts."""
    cls, gates, num_states = CELLS[name]
    cell = cls(5)
    states = [ops.ones((4, 5))] * num_states
    expected, _ = cell(INPUTS, states)

    def masks(value, size):
        made = [value * ops.ones((4, size))] * gates
        return made if gates > 1 else made[0]

    thinned = ThinnedCell(cell, masks(1.0, 3), masks(1.0, 5))
    output, new_states = thinned(INPUTS, states)
    np.testing.assert_allclose(
        numpy(output), numpy(expected), rtol=1e-5, atol=1e-6
    )
    assert len(new_states) == num_states
    thinned = ThinnedCell(cell, masks(0.0, 3), None)
    one, other = (numpy(thinned(x, states)[0]) for x in (INPUTS, 2 * INPUTS))
    np.testing.assert_array_equal(one, other)


@cells
def test_a_cell_has_its_masks_at_hand_by_these_names(name):
    cls, gates, _ = CELLS[name]
    cell = cls(5, dropout=0.5, recurrent_dropout=0.5)
    assert (cell.dropout, cell.recurrent_dropout) == (0.5, 0.5)
    assert getattr(cell, "implementation", 1) == 1
    assert getattr(cell, "dropout_mask_count", 1) == gates
    assert getattr(cls(5), "implementation", 2) == 2
    assert not hasattr(cls(5), "dropout_mask_count")


@versions.needs_keras("3.15", "has no kernel for both directions at once")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_bidirectional_asks_the_cells_whether_their_rates_are_true(
    kind, monkeypatch
):
    """Else it calls neither layer, where there is a kernel for both."""
    module = inspect.getmodule(stock.Bidirectional)
    called = []

    def kernel(*args, **kwargs):
        called.append(kind)
        raise NotImplementedError

    name = f"bidirectional_{kind}"
    monkeypatch.setattr(module.backend, name, kernel, raising=False)
    x = np.ones((2, 3, 4), "float32")
    for of, is_asked in ((stock, True), (layers, False)):
        layer = stock.Bidirectional(getattr(of, kind.upper())(2))
        layer.build(x.shape)
        called.clear()
        layer(x, training=True)
        assert bool(called) == is_asked


def test_a_zero_that_is_true_is_a_zero_else():
    rate = layers.LSTM(2).cell.dropout
    assert bool(rate)
    assert rate == 0.0
    assert not rate > 0.0
    assert keras.saving.serialize_keras_object(rate) == 0.0
