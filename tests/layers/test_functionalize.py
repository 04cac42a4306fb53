"""Layers in `torch.func.functionalize`, which takes no in-place operators."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers
from kerasdrop import masks

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="a transform of PyTorch"
)


def functionalized(function, x):
    import torch

    return torch.func.functionalize(function)(x)


# On a CPU, many units are dropped in another way than few.
@pytest.mark.parametrize("units", [8, 5000])
def test_a_layer_drops_the_same_units(units):
    x = ops.ones((4, units))
    layer, same = layers.Dropout(0.5, seed=1), layers.Dropout(0.5, seed=1)
    expected = ops.convert_to_numpy(layer(x, training=True))

    found = functionalized(lambda x: same(x, training=True), x)

    np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)
    assert 0.0 < np.mean(expected == 0.0) < 1.0


@pytest.mark.parametrize("set_size", [None, 4, 16, 256])
def test_a_mask_has_the_same_bits(set_size):
    index = ops.arange(512, dtype="int32") % 256
    rows = ops.repeat(ops.arange(2, dtype="int32"), 256)
    draw = masks.Draw(masks.key_of_seed(3), index, rows, set_size)
    rate, x = ops.convert_to_tensor(0.3), ops.ones((512, 5))
    expected = ops.convert_to_numpy(masks.keep_mask(draw, rate, x))

    found = functionalized(lambda x: masks.keep_mask(draw, rate, x), x)

    np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)
