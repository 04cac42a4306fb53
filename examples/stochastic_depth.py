"""Stochastic depth with a profile over the depth of a residual network.

The script trains a small residual network on scikit-learn's handwritten digits:
without dropping blocks, with one rate for all blocks, and with rates of the
same mean that rise linearly with the depth (Huang et al. 2016). It prints the
rates, the mean number of blocks that a row passes in training, and the test
error.

    python examples/stochastic_depth.py [--quick]

KERAS_BACKEND chooses the backend. The errors of one run say little: the test
set has 450 digits.
"""

import argparse

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kerasdrop.layers import StochasticDepth
from kerasdrop.schedules import linear_depth_rates

BLOCKS, LAST_RATE, UNITS = 8, 0.5, 128


def network(rates):
    """A residual network with a block for each rate."""
    x = inputs = keras.Input((64,))
    x = keras.layers.Dense(UNITS, "relu")(x)
    for rate in rates:
        block = keras.Sequential(
            [
                keras.layers.Dense(UNITS),
                keras.layers.BatchNormalization(),
                keras.layers.ReLU(),
                keras.layers.Dense(UNITS),
            ]
        )
        x = StochasticDepth(block, rate)(x)
        x = keras.layers.ReLU()(x)
    model = keras.Model(inputs, keras.layers.Dense(10, "softmax")(x))
    model.compile(
        "adam", "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    epochs = 1 if parser.parse_args().quick else 30

    pixels, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32") / 16.0, labels, random_state=0
    )
    rising = linear_depth_rates(BLOCKS, LAST_RATE)
    profiles = {
        "none": [0.0] * BLOCKS,
        "uniform": [sum(rising) / BLOCKS] * BLOCKS,
        "linear": rising,
    }
    print("Profile  first   last  blocks  test error")
    for name, rates in profiles.items():
        keras.utils.set_random_seed(0)
        model = network(rates)
        model.fit(x_train, y_train, 64, epochs, verbose=0)
        _, accuracy = model.evaluate(x_test, y_test, verbose=0)
        blocks = BLOCKS - sum(rates)
        print(
            f"{name:7}  {rates[0]:5.3f}  {rates[-1]:5.3f}  {blocks:6.2f}  "
            f"{1.0 - accuracy:10.4f}"
        )


if __name__ == "__main__":
    main()
