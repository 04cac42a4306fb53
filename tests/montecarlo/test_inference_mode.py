"""PyTorch's inference mode around a first call leaves nothing frozen behind."""

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="inference mode is of PyTorch"
)
X = np.ones((4, 3), "float32")


def net():
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4),
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )


def test_later_predictions_and_training_work():
    import torch

    model = net()
    settings = {"num_samples": 16, "kind": "regression", "verbose": 0}
    with torch.inference_mode():
        inside = kerasdrop.mc_predict(model, X, seed=0, **settings).mean
    outside = kerasdrop.mc_predict(model, X, seed=0, **settings).mean
    np.testing.assert_array_equal(inside, outside)
    kerasdrop.mc_predict(model, X, seed=1, **settings)
    model(X, training=True).sum().backward()


def test_a_layer_that_was_made_there_trains():
    import torch

    # Shapes that no other test has: what is kept by shape is made here.
    with torch.inference_mode():
        layer = kerasdrop.layers.Dropout(0.5)
        layer(np.ones((2, 37), "float32"), training=True)
    layer.rate = 0.25
    x = torch.ones((2, 37), requires_grad=True)
    y = layer(x, training=True)
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy() > 0, y.detach().numpy() > 0)
