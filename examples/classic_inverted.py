"""Classic against inverted dropout: one model in two parametrizations.

The script trains a network on scikit-learn's handwritten digits with dropout on
inputs and hidden units, three times and always with the same masks:

- with classic dropout, as in the paper of 2014;
- with inverted dropout, converted exactly: each kernel is multiplied by the
  probability to keep a unit, and the learning rate by its square;
- with inverted dropout and the classic learning rate, which is a different
  training.

It prints a table, whose first two lines are equal up to rounding.

    python examples/classic_inverted.py [--quick]

KERAS_BACKEND chooses the backend.
"""

import argparse

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout

RATE, LEARNING_RATE = 0.5, 0.2
KEEP = 1.0 - RATE


def network(dropout):
    """A network without biases, which would need another learning rate."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            dropout(RATE, seed=1),
            keras.layers.Dense(256, "relu", use_bias=False),
            dropout(RATE, seed=2),
            keras.layers.Dense(10, use_bias=False),
        ]
    )


def train(dropout, kernels, learning_rate, data, epochs):
    """Trains by plain SGD; returns loss and accuracy of the test set."""
    model = network(dropout)
    model.set_weights(kernels)
    model.compile(
        keras.optimizers.SGD(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x_train, x_test, y_train, y_test = data
    model.fit(x_train, y_train, 64, epochs, shuffle=False, verbose=0)
    return model.evaluate(x_test, y_test, verbose=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    epochs = 3 if parser.parse_args().quick else 30

    keras.utils.set_random_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    data = train_test_split(
        pixels.astype("float32") / 16.0, labels, random_state=0
    )
    kernels = network(ClassicDropout).get_weights()
    smaller = [KEEP * kernel for kernel in kernels]
    runs = {
        "classic": (ClassicDropout, kernels, LEARNING_RATE),
        "inverted, carried over": (Dropout, smaller, KEEP**2 * LEARNING_RATE),
        "inverted, same rate": (Dropout, smaller, LEARNING_RATE),
    }
    print(f"{'Test set of digits':24}  {'loss':>8}  accuracy")
    for name, run in runs.items():
        loss, accuracy = train(*run, data, epochs)
        print(f"{name:24}  {loss:8.4f}  {accuracy:8.4f}")


if __name__ == "__main__":
    main()
