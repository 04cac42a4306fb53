"""Checks that run on the pretend device, in a separate process.

    python -m tests.support.on_pretend_device layers

Prints a line of JSON, which maps the name of each case to its faults, "" if
there are none, and to what the host read meanwhile.
"""

import functools
import json
import os
import sys
import traceback

from tests.support import pretend_device

if __name__ == "__main__":
    os.environ["KERAS_TORCH_DEVICE"] = pretend_device.DEVICE
    pretend_device.register()

import keras
import numpy as np
import torch
from keras import layers
from keras import ops

import kerasdrop
from kerasdrop.masks import plans
from tests.layers import test_common as common
from tests.support import known_masks
from tests.support import traced

RATE = 0.5


def seen(run, *args):
    """Returns the faults of a function, and what the host reads in it."""
    error = ""
    with pretend_device.watched() as transfers:
        try:
            run(*args)
        except Exception:
            error = traceback.format_exc()
    reads, copies = (
        [f"{one.name} in {one.line}" for one in transfers if one.to == side]
        for side in ("host", "device")
    )
    return {"error": error, "reads": reads, "copies": copies}


def _training_call(name):
    """A training call of a layer that has been called before."""
    x = ops.convert_to_tensor(common.inputs_of(name))
    layer = common.CASES[name].make(RATE, seed=0)
    first = layer(x, training=True)
    assert first.device == torch.device(pretend_device.DEVICE)
    return seen(lambda: layer(x, training=True))


def of_layers():
    """Checks the known answers, the gradient and a call of each layer."""
    found = {}
    for name in common.CASES:
        found[f"{name}: outputs"] = seen(_answers, name)
        found[f"{name}: a call"] = _training_call(name)
        found[f"{name}: gradient"] = seen(_gradient, name)
    return found


def _answers(name):
    case, x = common.CASES[name], common.inputs_of(name)
    words = functools.partial(known_masks.words, case.seed_inside(2024), 0)
    expected = case.stochastic(x.astype("float64"), words, RATE)
    outputs = case.make(RATE, seed=2024)(x, training=True)
    common.assert_close(common.numpy(outputs), expected)


def _gradient(name):
    x = common.inputs_of(name)
    layer = common.CASES[name].make(RATE, seed=0)
    assert np.isfinite(traced.gradient(layer, x)).all()


def mlp(drop):
    return (6,), [
        layers.Dense(8, activation="relu"),
        drop.Dropout(RATE),
        layers.Dense(8, activation="selu"),
        drop.AlphaDropout(0.2),
        drop.GaussianDropout(0.2),
    ]


def lstm(drop):
    return (5, 4), [
        drop.LSTM(4, dropout=0.2, recurrent_dropout=0.2, return_sequences=True),
        drop.GRU(4, dropout=0.3),
    ]


def cnn(drop):
    return (6, 6, 2), [
        layers.Conv2D(4, 3),
        layers.BatchNormalization(),
        drop.SpatialDropout2D(0.3),
        kerasdrop.layers.DropBlock2D(0.3, 2),
        kerasdrop.layers.DropPath(0.2),
        layers.Flatten(),
    ]


class Attention(layers.Layer):
    """Self-attention in which Keras' own layer draws."""

    def __init__(self, drop):
        super().__init__()
        self.attention = drop.MultiHeadAttention(2, 4, dropout=0.3)

    def build(self, shape):
        self.attention.build(shape, shape)

    def call(self, inputs, training=None):
        return self.attention(inputs, inputs, training=training)


def attention(drop):
    return (5, 4), [
        Attention(drop),
        drop.Dropout(0.2),
        layers.GlobalAveragePooling1D(),
    ]


MODELS = {"MLP": mlp, "LSTM": lstm, "CNN": cnn, "attention": attention}
PACKAGES = {"ours": kerasdrop.layers, "stock": layers}


def model_of(make, drop):
    keras.utils.set_random_seed(0)
    shape, stack = make(drop)
    head = layers.Dense(3, activation="softmax")
    return keras.Sequential([keras.Input(shape), *stack, head])


def data_of(model):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(6, *model.input_shape[1:])).astype("float32")
    return x, draw.integers(0, 3, 6)


def _fitted(make):
    model = model_of(make, kerasdrop.layers)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*data_of(model), batch_size=3, shuffle=False, verbose=0)
    return model.get_weights()


def _predicted(make, drop, plan):
    model = model_of(make, drop)
    result = kerasdrop.mc_predict(
        model,
        data_of(model)[0],
        32,
        seed=1,
        plan=plan,
        kind="probabilities",
        keep_samples=True,
        verbose=0,
    )
    return [result.samples, result["mean"], result["mutual_information"]]


def _same_on_both(run, *args):
    """Checks for equal results on the device and on the CPU, up to rounding."""
    on_device = run(*args)
    with keras.device("cpu"):
        on_host = run(*args)
    for one, other in zip(on_device, on_host, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def of_models():
    """Checks a `fit` and the samples of each plan for each model."""
    found = {}
    for name, make in MODELS.items():
        found[f"{name}: fit"] = seen(_same_on_both, _fitted, make)
        for package, drop in PACKAGES.items():
            for plan in plans.PLANS if package == "ours" else ("stratified",):
                case = f"{name}, {package}: {plan}"
                found[case] = seen(_same_on_both, _predicted, make, drop, plan)
    return found


class Planted(kerasdrop.layers.Dropout):
    """Has a planted mistake: a constant stays where NumPy made it."""

    def stochastic(self, inputs, draw, rate):
        constant = torch.from_numpy(np.ones(inputs.shape[-1], "float32"))
        return super().stochastic(inputs, draw, rate) * constant


class Asking(kerasdrop.layers.Dropout):
    """Has a planted mistake: the host reads the rate in each call."""

    def stochastic(self, inputs, draw, rate):
        if rate.item() == 0.0:
            return inputs
        return super().stochastic(inputs, draw, rate)


def of_planted():
    """Planted mistakes that must be found."""
    x = np.ones((2, 4), "float32")
    return {
        "constant": seen(lambda: Planted(0.5)(x, training=True)),
        "read": seen(lambda: Asking(0.5)(x, training=True)),
    }


def main(*names):
    found = {}
    for name in names:
        found |= globals()[f"of_{name}"]()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
