"""Networks written twice, in Keras and in `torch.nn`, with the same weights.

Images are `(rows, height, width, channels)` for Keras and are permuted for
PyTorch; sequences are `(rows, steps, features)` for both.
"""

from typing import NamedTuple

import keras
import numpy as np
import torch
from keras import layers
from keras import ops
from torch import nn


class Twin(NamedTuple):
    """One network, three times.

    Attributes:
        model: The Keras model, with dropout in inference as it should be.
        recipe: The Keras model whose dropout was called with `training=True`.
        module: The PyTorch module, in evaluation mode; None if `torch.nn` has
            no such layer.
        x: Inputs for Keras, `(rows, ...)`.
    """

    model: object
    recipe: object
    module: object
    x: object

    def tensor(self, x=None):
        """Inputs for the module: channels first."""
        x = torch.tensor(self.x if x is None else x)
        return x.permute(0, 3, 1, 2).contiguous() if x.ndim == 4 else x

    def outputs(self, network):
        """The outputs of a network, an array, called without Monte Carlo.

        Args:
            network: `"model"`, `"recipe"` or `"module"`.
        """
        if network != "module":
            return getattr(self, network).predict_on_batch(self.x)
        with torch.no_grad():
            return self.module(self.tensor()).numpy()

    def weights(self, network):
        """The weights and statistics of a network, a list of arrays."""
        if network != "module":
            return getattr(self, network).get_weights()
        return [v.numpy().copy() for v in self.module.state_dict().values()]

    def statistics(self, network):
        """The statistics of batch normalization alone, a list of arrays."""
        names = {
            layers.BatchNormalization: ("moving_mean", "moving_variance"),
            nn.BatchNorm2d: ("running_mean", "running_var"),
        }
        return [
            ops.convert_to_numpy(getattr(one, name)).copy()
            for one in self.parts(network)
            for name in names.get(type(one), ())
        ]

    def parts(self, network):
        """The layers of a model, or the modules of a module."""
        if network != "module":
            return getattr(self, network).layers
        return list(self.module.modules())

    def checked(self):
        """This twin, if both networks are the same without dropout.

        Raises:
            AssertionError: If they are not, to 1e-5.
        """
        if self.module is not None:
            np.testing.assert_allclose(
                self.outputs("module"),
                self.outputs("model"),
                rtol=1e-5,
                atol=1e-5,
            )
        return self


def twin(network, copy, module, x, prepare=None):
    """A twin of a function that makes the Keras network.

    Args:
        network: Function of `training`, what dropout is called with.
        copy: Function of model and module, which copies the weights.
        module: The PyTorch module, or None.
        x: Inputs for Keras.
        prepare: Function of the model that changes its weights, or None.
    """
    # Each call makes the same weights.
    keras.utils.set_random_seed(0)
    model, recipe = network(None), network(True)
    if prepare is not None:
        prepare(model)
    recipe.set_weights(model.get_weights())
    if module is not None:
        module.eval()
        with torch.no_grad():
            copy(model, module)
    return Twin(model, recipe, module, x.astype("float32")).checked()


def mlp(x, units=512, outputs=10, rate=0.5, prepare=None):
    """A classifier of `x`, dropout after both hidden layers."""
    features = x.shape[-1]

    def network(training):
        x = h = keras.Input((features,))
        for _ in range(2):
            h = layers.Dense(units, activation="relu")(h)
            h = layers.Dropout(rate)(h, training=training)
        return keras.Model(x, layers.Dense(outputs, activation="softmax")(h))

    module = nn.Sequential(
        nn.Linear(features, units),
        nn.ReLU(),
        nn.Dropout(rate),
        nn.Linear(units, units),
        nn.ReLU(),
        nn.Dropout(rate),
        nn.Linear(units, outputs),
        nn.Softmax(-1),
    )
    return twin(network, copy_in_order, module, x, prepare)


def convnet(size=28, channels=1, filters=(16, 32), rate=0.2):
    """Convolutions with batch normalization, channels dropped."""

    def network(training):
        x = h = keras.Input((size, size, channels))
        for number in filters:
            h = layers.Conv2D(number, 3, padding="same")(h)
            h = layers.BatchNormalization()(h)
            h = layers.Activation("relu")(h)
            h = layers.SpatialDropout2D(rate)(h, training=training)
            h = layers.MaxPooling2D()(h)
        h = layers.GlobalAveragePooling2D()(h)
        return keras.Model(x, layers.Dense(10, activation="softmax")(h))

    parts, before = [], channels
    for number in filters:
        parts += [
            nn.Conv2d(before, number, 3, padding="same"),
            nn.BatchNorm2d(number, eps=1e-3),
            nn.ReLU(),
            nn.Dropout2d(rate),
            nn.MaxPool2d(2),
        ]
        before = number
    module = nn.Sequential(
        *parts,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(before, 10),
        nn.Softmax(-1),
    )

    def prepare(model):
        # Statistics that no batch of the data has.
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.moving_mean.assign(layer.moving_mean + 0.1)
                layer.moving_variance.assign(layer.moving_variance * 0.5)

    x = np.random.default_rng(0).normal(size=(16, size, size, channels))
    return twin(network, copy_in_order, module, x, prepare)


class _Recurrent(nn.Module):
    """Two LSTM layers; dropout between them and, if wanted, after."""

    def __init__(self, features, units, rate, with_head):
        super().__init__()
        self.lstm = nn.LSTM(features, units, 2, batch_first=True, dropout=rate)
        self.head = nn.Dropout(rate) if with_head else nn.Identity()

    def forward(self, x):
        inner = self.lstm(x)[0][:, -1]
        return torch.cat([inner, self.head(inner)], -1)


def recurrent(rate=0.5, with_head=True, is_recurrent=False):
    """Two LSTM layers whose dropout is an argument of theirs.

    The masks are no twins: Keras keeps one for all steps, `torch.nn` draws one
    for each. `is_recurrent` drops the state instead, which `torch.nn` cannot.

    Outputs: `(rows, 2 * units)`, before and after a layer of dropout, if
    `with_head`; else twice the same.
    """
    features, units = 6, 8
    name = "recurrent_dropout" if is_recurrent else "dropout"

    def network(training):
        x = keras.Input((5, features))
        h = layers.LSTM(units, return_sequences=True)(x)
        h = layers.LSTM(units, **{name: rate})(h, training=training)
        return with_dropout_beside(x, h, rate, training, with_head)

    def copy(model, module):
        found = [one for one in model.layers if isinstance(one, layers.LSTM)]
        for number, layer in enumerate(found):
            kernel, recurrent, bias = layer.get_weights()
            for part, value in (
                ("weight_ih", kernel.T),
                ("weight_hh", recurrent.T),
                ("bias_ih", bias),
                ("bias_hh", 0.0 * bias),
            ):
                put(getattr(module.lstm, f"{part}_l{number}"), value)

    module = _Recurrent(features, units, rate, with_head)
    x = np.random.default_rng(0).normal(size=(8, 5, features))
    return twin(network, copy, None if is_recurrent else module, x)


class _Transformer(nn.Module):
    """A block whose attention drops, and dropout after it if wanted."""

    def __init__(self, width, heads, rate, with_head):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            width, heads, dropout=rate, batch_first=True
        )
        self.norm = nn.LayerNorm(width, eps=1e-3)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.last_norm = nn.LayerNorm(width, eps=1e-3)
        self.head = nn.Dropout(rate) if with_head else nn.Identity()

    def forward(self, x):
        h = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        h = self.last_norm(h + self.down(torch.relu(self.up(h))))
        inner = h.mean(1)
        return torch.cat([inner, self.head(inner)], -1)


def transformer(rate=0.5, with_head=True):
    """A transformer block with dropout inside the attention.

    Outputs: as of `recurrent`.
    """
    steps, width, heads = 6, 16, 2

    def network(training):
        x = keras.Input((steps, width))
        h = layers.MultiHeadAttention(heads, width // heads, dropout=rate)(
            x, x, training=training
        )
        h = layers.LayerNormalization()(x + h)
        f = layers.Dense(2 * width, activation="relu")(h)
        h = layers.LayerNormalization()(h + layers.Dense(width)(f))
        h = layers.GlobalAveragePooling1D()(h)
        return with_dropout_beside(x, h, rate, training, with_head)

    def copy(model, module):
        by_type = {}
        for layer in model.layers:
            by_type.setdefault(type(layer), []).append(layer)
        attention = by_type[layers.MultiHeadAttention][0].get_weights()
        *inner, last_kernel, last_bias = attention
        kernels, biases = inner[::2], inner[1::2]
        into = module.attention
        put(
            into.in_proj_weight,
            np.concatenate([k.reshape(width, width).T for k in kernels]),
        )
        put(into.in_proj_bias, np.concatenate([b.ravel() for b in biases]))
        put(into.out_proj.weight, last_kernel.reshape(width, width).T)
        put(into.out_proj.bias, last_bias)
        dense = by_type[layers.Dense]
        norms = by_type[layers.LayerNormalization]
        for layer, target in zip(dense, (module.up, module.down)):
            put_pair(target, layer.get_weights())
        for layer, target in zip(norms, (module.norm, module.last_norm)):
            put_pair(target, layer.get_weights())

    module = _Transformer(width, heads, rate, with_head)
    x = np.random.default_rng(0).normal(size=(8, steps, width))
    return twin(network, copy, module, x)


class _Beside(nn.Module):
    """A layer that drops, and its inputs after `nn.Dropout`."""

    def __init__(self, inner, rate):
        super().__init__()
        self.inner = inner
        self.head = nn.Dropout(rate)

    def forward(self, x):
        parts = [self.inner(x), self.head(x)]
        return torch.cat([part.flatten(1) for part in parts], -1)


def beside(inner, module, shape, rate=0.5):
    """A layer that drops beside `Dropout` of the same inputs.

    Args:
        inner: Function that makes the Keras layer.
        module: The layer of `torch.nn`, or None if it has none.
        shape: Shape of a row as Keras has it. All features are equal within a
            row, so that the order of the channels does not matter.
        rate: Rate of the dropout beside it.

    Outputs: `(rows, 2 * features)`, those of the layer first.
    """

    def network(training):
        x = keras.Input(shape)
        h = layers.Flatten()(inner()(x, training=training))
        head = layers.Dropout(rate)(layers.Flatten()(x), training=training)
        return keras.Model(x, layers.Concatenate()([h, head]))

    x = np.random.default_rng(0).normal(size=(8, *[1] * len(shape)))
    x = np.broadcast_to(x, (8, *shape))
    if module is not None:
        module = _Beside(module, rate)
    return twin(network, lambda model, module: None, module, x)


class OwnLayer(layers.Layer):
    """A Keras layer that drops by `keras.random.dropout` in its `call`."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, inputs, training=None):
        if not training:
            return inputs
        return keras.random.dropout(inputs, self.rate, seed=self.seed_generator)


class OwnModule(nn.Module):
    """A module that drops by `functional.dropout` in its `forward`."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return nn.functional.dropout(x, self.rate, self.training)


def with_dropout_beside(x, h, rate, training, with_head):
    head = layers.Dropout(rate)(h, training=training) if with_head else h
    return keras.Model(x, layers.Concatenate()([h, head]))


def copy_in_order(model, module):
    """Copies dense and convolutional layers and batch normalization."""
    targets = [
        one
        for one in module.modules()
        if isinstance(one, nn.Linear | nn.Conv2d | nn.BatchNorm2d)
    ]
    sources = [one for one in model.layers if one.weights]
    for layer, target in zip(sources, targets, strict=True):
        put_pair(target, layer.get_weights())


def put_pair(target, weights):
    """Puts weights as Keras has them into a module with weight and bias."""
    first, second, *statistics = weights
    if first.ndim == 4:
        first = first.transpose(3, 2, 0, 1)
    put(target.weight, first.T if first.ndim == 2 else first)
    put(target.bias, second)
    for name, value in zip(("running_mean", "running_var"), statistics):
        put(getattr(target, name), value)


def put(parameter, value):
    parameter.copy_(torch.tensor(np.asarray(value)))
