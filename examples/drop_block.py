"""DropBlock with a rate that rises during training.

The script trains a small convolutional network on scikit-learn's handwritten
digits, of 8 x 8 pixels: without DropBlock, with DropBlock at a constant rate,
and with a rate that rises linearly from 0 to the same rate, as its paper
recommends (Ghiasi et al. 2018). It prints the rate at the beginning, in the
middle and at the end, and the test error.

    python examples/drop_block.py [--quick]

KERAS_BACKEND chooses the backend. The errors of one run say little: the test
set has 450 digits.
"""

import argparse

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kerasdrop import schedules
from kerasdrop.layers import DropBlock2D

RATE, BLOCK_SIZE, BATCH_ROWS = 0.2, 3, 64


def network(rate):
    """Two convolutions, each with blocks dropped behind it."""
    last = {"data_format": "channels_last"}
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(
                32, 3, padding="same", activation="relu", **last
            ),
            DropBlock2D(rate, BLOCK_SIZE, **last),
            keras.layers.Conv2D(
                32, 3, padding="same", activation="relu", **last
            ),
            DropBlock2D(rate, BLOCK_SIZE, **last),
            keras.layers.GlobalMaxPooling2D(**last),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(3e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    epochs = 2 if parser.parse_args().quick else 30

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8, 1).astype("float32") / 16.0
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, random_state=0
    )
    num_steps = epochs * -(-len(x_train) // BATCH_ROWS)
    rates = {
        "none": schedules.Constant(0.0),
        "constant": schedules.Constant(RATE),
        "ramp": schedules.Linear(0.0, RATE, num_steps),
    }
    print("Rate      begin  middle    end  test error")
    for name, rate in rates.items():
        keras.utils.set_random_seed(0)
        model = network(rate)
        model.fit(x_train, y_train, BATCH_ROWS, epochs, verbose=0)
        _, accuracy = model.evaluate(x_test, y_test, verbose=0)
        steps = np.array([0, num_steps // 2, num_steps], "int32")
        shown = keras.ops.convert_to_numpy(rate(steps))
        print(
            f"{name:8}  {shown[0]:5.2f}  {shown[1]:6.2f}  {shown[2]:5.2f}  "
            f"{1.0 - accuracy:10.4f}"
        )


if __name__ == "__main__":
    main()
