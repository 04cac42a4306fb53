"""Models and blocks without a graph, and with a state."""

import keras
from keras import layers

from tests.montecarlo.zoo.registry import entry


@entry(backends=("torch",))
def a_module_of_torch(rate=0.4):
    import torch

    x = keras.Input((4,))
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
    h = layers.TorchModuleWrapper(module, output_shape=(None, 4))(
        layers.Dropout(rate)(x)
    )
    return keras.Model(x, h * 2.0)
