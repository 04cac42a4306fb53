"""A padding mask goes through a dropout layer as through the stock layer."""

import keras
import numpy as np

from kerasdrop.layers import Dropout

TOKENS = np.array([[3, 1, 0, 0], [2, 2, 1, 0]])


def test_an_lstm_behind_dropout_skips_the_padding():
    model = keras.Sequential(
        [
            keras.layers.Embedding(4, 8, mask_zero=True),
            Dropout(0.5),
            keras.layers.LSTM(3),
        ]
    )
    padded = model.predict(TOKENS[:1], verbose=0)
    short = model.predict(TOKENS[:1, :2], verbose=0)
    np.testing.assert_allclose(padded, short, rtol=1e-5, atol=1e-7)


def test_a_masked_sequence_model_trains():
    model = keras.Sequential(
        [
            keras.layers.Embedding(4, 8, mask_zero=True),
            Dropout(0.5, noise_shape=(None, 1, None)),
            keras.layers.LSTM(3),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    history = model.fit(TOKENS, np.zeros((2, 1)), epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
