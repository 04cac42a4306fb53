"""The networks of benchmarks/statistics/plans.py, and their training."""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_diabetes
from sklearn.datasets import load_digits

from kerasdrop.layers import Dropout

TEST_ROWS = 150

# Training ends when the validation loss has not fallen for so many epochs.
PATIENCE = 10
MOST_EPOCHS = 200


def digits():
    """scikit-learn's digits: images `(rows, 8, 8)` in [0, 1], and classes."""
    x, y = load_digits(return_X_y=True)
    return x.astype("float32").reshape(-1, 8, 8) / 16.0, y


def diabetes():
    """scikit-learn's diabetes: 10 features, and targets of variance 1."""
    x, y = load_diabetes(return_X_y=True)
    x, y = (
        (array - array.mean(axis=0)) / array.std(axis=0) for array in (x, y)
    )
    return x.astype("float32"), y.astype("float32")[:, None]


def dense(num_layers, units, rate):
    hidden = [layers.Flatten()]
    for _ in range(num_layers):
        hidden += [layers.Dense(units, activation="relu"), Dropout(rate)]
    return hidden


def convolutional():
    return [
        layers.Reshape((8, 8, 1)),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.SpatialDropout2D(0.25),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        Dropout(0.5),
    ]


def recurrent():
    """Reads an image row by row; one mask for a whole image."""
    return [layers.LSTM(64, dropout=0.2, recurrent_dropout=0.2)]


class Network(NamedTuple):
    """A network to be trained: its data and its layers before the last."""

    name: str
    data: object
    hidden: object


NETWORKS = (
    Network("digits, 2 x 256, rate .5", digits, lambda: dense(2, 256, 0.5)),
    Network("digits, 1 x 256, rate .2", digits, lambda: dense(1, 256, 0.2)),
    Network("diabetes, 1 x 50, rate .1", diabetes, lambda: dense(1, 50, 0.1)),
    Network("diabetes, 2 x 128, rate .3", diabetes, lambda: dense(2, 128, 0.3)),
    Network("digits, convolutional, rates .25, .5", digits, convolutional),
    Network("digits, LSTM 64, rates .2, .2", digits, recurrent),
)


def trained(network, epochs=None):
    """A trained model, the rows held out, and how well it does on them."""
    keras.utils.set_random_seed(0)
    x, y = network.data()
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[:TEST_ROWS], order[TEST_ROWS:]
    if y.ndim == 1:
        last = layers.Dense(10, activation="softmax")
        loss, metric = "sparse_categorical_crossentropy", "accuracy"
    else:
        last, loss, metric = layers.Dense(1), "mse", "mse"
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), *network.hidden(), last]
    )
    model.compile(optimizer="adam", loss=loss, metrics=[metric])
    stop = keras.callbacks.EarlyStopping(
        patience=PATIENCE, restore_best_weights=True
    )
    history = model.fit(
        x[train],
        y[train],
        epochs=epochs or MOST_EPOCHS,
        validation_split=0.1,
        callbacks=[] if epochs else [stop],
        verbose=0,
    )
    score = model.evaluate(x[test], y[test], verbose=0, return_dict=True)
    training = {
        "epochs": len(history.epoch) if epochs else stop.best_epoch + 1,
        f"test {metric}": round(score[metric], 4),
    }
    return model, x[test], training


def known(rate, hidden=None):
    """A network of 12 units with fixed weights, and rows of ones."""
    generator = np.random.default_rng(3)
    parts = [keras.Input((12,)), Dropout(rate)]
    if hidden:
        parts += [layers.Dense(12, activation=hidden), Dropout(rate)]
    model = keras.Sequential([*parts, layers.Dense(1)])
    model.set_weights(
        [
            generator.normal(size=weights.shape) / 3.0
            for weights in model.get_weights()
        ]
    )
    return model, np.ones((TEST_ROWS, 12), "float32"), {"trained": False}


KNOWN = {
    "linear, 12, rate .5": lambda: known(0.5),
    "linear, 12, rate .1": lambda: known(0.1),
    "tanh, 2 x 12, rate .3": lambda: known(0.3, "tanh"),
}
