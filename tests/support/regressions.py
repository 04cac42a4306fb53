"""A small regression, and rows with errors of all sizes."""

import keras
import numpy as np
from keras import layers

import kerasdrop

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
# Rows of all sizes have errors of all sizes.
X *= np.geomspace(0.01, 10.0, 12)[:, None].astype("float32")


def regression(units=16):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(units, activation="tanh"),
            kerasdrop.layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )


def predict(model, x=X, num_samples=512, **settings):
    settings = {"kind": "regression", "verbose": 0, "seed": 1, **settings}
    return kerasdrop.mc_predict(model, x, num_samples, **settings)
