"""A small network whose rates are fitted, its data, and the call."""

import keras
import numpy as np
from keras import layers

import kerasdrop

GRID = (0.125, 0.25, 0.5, 0.75)
X4 = np.random.default_rng(4).normal(size=(20, 4)).astype("float32")
Y4 = np.arange(20) % 3


def fit(model, x, y, **settings):
    settings = {
        "seed": 3,
        "rates": GRID,
        "verbose": 0,
        "verify": False,
        **settings,
    }
    return kerasdrop.fit_rates(model, x, y, **settings)


def two_layers():
    x = keras.Input((4,))
    h = layers.Dense(8, activation="relu", name="first")(x)
    h = kerasdrop.layers.Dropout(0.5, name="early")(h)
    h = layers.Dense(8, activation="relu")(h)
    h = layers.Dropout(0.2, name="late")(h)
    return keras.Model(x, layers.Dense(3, activation="softmax")(h))
