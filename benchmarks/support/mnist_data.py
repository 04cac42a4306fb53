"""The MNIST images of a folder."""

import pathlib

import numpy as np

FILE = "mnist.npz"
ORIGIN = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"

# The paper of 2014 too keeps 10,000 of the 60,000 training images to choose by.
VALIDATION_PART = 6


def load(folder):
    """Images as rows of 784 numbers in [0, 1], and classes: train, test.

    Raises:
        SystemExit: If the file is not there, saying where it comes from.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists():
        raise SystemExit(
            f"There is no {FILE} in {folder}. Download it from {ORIGIN} "
            "(by LeCun, Cortes and Burges) and pass its folder as `--data`."
        )
    with np.load(path) as arrays:
        return tuple(
            (_rows(arrays[f"x_{part}"]), arrays[f"y_{part}"].astype("int32"))
            for part in ("train", "test")
        )


def _rows(images):
    return images.reshape(len(images), -1).astype("float32") / 255.0


def split(data):
    """Training data without the last sixth, and that sixth to choose by."""
    images, labels = data
    end = len(images) - len(images) // VALIDATION_PART
    return (images[:end], labels[:end]), (images[end:], labels[end:])
