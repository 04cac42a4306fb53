"""`fit_rates` warns where a score or its errors are not what they seem."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop

GENERATOR = np.random.default_rng(0)
TOKENS = np.array([[1, 2, 0], [3, 0, 0], [1, 2, 3], [2, 0, 0]])
TAGS = GENERATOR.integers(0, 3, TOKENS.shape)
SETTINGS = {
    "rates": [0.1, 0.5],
    "num_samples": 16,
    "seed": 0,
    "verbose": 0,
    "verify": False,
}


def tagger(masks, noise_shape=None):
    inputs = keras.Input((3,), dtype="int32")
    h = layers.Embedding(4, 2, mask_zero=masks)(inputs)
    h = kerasdrop.layers.Dropout(0.5, noise_shape=noise_shape, name="drop")(h)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(h))


def likelihood_of_words(y, result):
    chosen = np.take_along_axis(result.mean, y[..., None], -1)[..., 0]
    return float(np.log(chosen).mean())


def test_padding_in_a_score():
    with pytest.warns(UserWarning, match="masks padding.*including padd"):
        kerasdrop.fit_rates(tagger(True), TOKENS, TAGS, **SETTINGS)


def test_masks_that_rows_share():
    model = tagger(False, noise_shape=(1, 3, 2))
    with pytest.warns(UserWarning, match="share the masks of 'drop'"):
        kerasdrop.fit_rates(model, TOKENS, TAGS, **SETTINGS)


def test_nothing_is_said_of_others():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="fit_rates")
        kerasdrop.fit_rates(tagger(False), TOKENS, TAGS, **SETTINGS)
        kerasdrop.fit_rates(
            tagger(True),
            TOKENS,
            TAGS,
            score=likelihood_of_words,
            direction="highest",
            **SETTINGS,
        )
