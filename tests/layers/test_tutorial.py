"""The model of every tutorial runs with the import alone changed."""

import keras
import numpy as np
import pytest

from kerasdrop import layers as our_layers

ROWS, FEATURES, CLASSES = 64, 20, 3
PATTERNS = np.random.default_rng(0).normal(size=(CLASSES, FEATURES))
LABELS = np.arange(ROWS) % CLASSES
INPUTS = PATTERNS[LABELS].astype("float32")
TARGETS = np.eye(CLASSES, dtype="float32")[LABELS]


def tutorial(Dense, Dropout):
    model = keras.Sequential()
    model.add(keras.Input((FEATURES,)))
    model.add(Dense(64, activation="relu"))
    model.add(Dropout(0.5))
    model.add(Dense(64, activation="relu"))
    model.add(Dropout(0.5))
    model.add(Dense(CLASSES, activation="softmax"))
    model.compile(
        loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"]
    )
    history = model.fit(
        INPUTS,
        TARGETS,
        batch_size=16,
        epochs=12,
        validation_data=(INPUTS, TARGETS),
        verbose=0,
    )
    return history.history


@pytest.mark.parametrize("name", ["Dropout", "ClassicDropout"])
def test_the_tutorial_learns_three_patterns(name):
    history = tutorial(keras.layers.Dense, getattr(our_layers, name))
    assert history["val_accuracy"][-1] == 1.0
