"""A mask is drawn once for each step, also where Keras recomputes."""

import keras
import numpy as np
import pytest

from kerasdrop.layers import Dropout
from tests.layers import probes

BACKEND = keras.backend.backend()


@pytest.mark.parametrize("mode", ["full", "list_of_layers"])
def test_a_layer_in_a_remat_scope_counts_each_step_once(mode):
    with keras.RematScope(mode=mode, layer_names=["dropout"]):
        layer = Dropout(0.5, seed=0, name="dropout")
    model = probes.recorded_model(layer)
    probes.fit(model, steps=4)
    assert layer.step == 4


def test_a_layer_in_a_remat_scope_has_the_gradients_of_one_outside():
    kernels = []
    for mode in (None, "full"):
        with keras.RematScope(mode=mode):
            layer = Dropout(0.5, seed=0)
        dense = keras.layers.Dense(1, kernel_initializer="ones")
        model = keras.Sequential([keras.Input((5,)), layer, dense])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 5)), np.zeros((8, 1)), epochs=2, verbose=0)
        kernels.append(model.get_weights()[0])
    np.testing.assert_allclose(*kernels, rtol=1e-6)


class Block(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(5)
        self.dropout = Dropout(0.5, seed=0)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs, training=False):
        return self.dropout(self.dense(inputs), training=training)


@pytest.mark.skipif(BACKEND != "torch", reason="only PyTorch runs such a model")
def test_a_layer_inside_a_recomputed_block_raises_with_the_fix():
    with keras.RematScope(mode="full"):
        block = Block()
    model = keras.Sequential([keras.Input((5,)), block, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="out of the rematerialised block"):
        model.fit(np.ones((8, 5)), np.zeros((8, 1)), verbose=0)


@pytest.mark.skipif(BACKEND != "torch", reason="torch.utils.checkpoint")
def test_torch_checkpoint_around_a_layer_raises_with_the_fix():
    import torch
    from torch.utils.checkpoint import checkpoint

    layer = Dropout(0.5, seed=0)
    inputs = torch.ones(4, 5, requires_grad=True)
    outputs = checkpoint(
        lambda x: layer(x, training=True) ** 2, inputs, use_reentrant=False
    )
    with pytest.raises(RuntimeError, match=r"`torch\.utils\.checkpoint`"):
        outputs.sum().backward()
