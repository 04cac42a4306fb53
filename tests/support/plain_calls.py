"""Compares Monte Carlo samples with a plain call of the model."""

import keras
import numpy as np
from keras import ops

import kerasdrop

# A rate that drops nothing in any number of samples that a test draws.
NEXT_TO_NOTHING = 1e-9


def assert_samples_are_like_a_plain_call(model, x, tolerance=1e-5, **settings):
    """Asserts that each sample is `model(x, training=False)`.

    Args:
        model: A model whose rates are all `NEXT_TO_NOTHING`.
        x: Its inputs, arrays.
        tolerance: The tolerance, relative to the largest number of an output.
        **settings: Arguments of `mc_predict`.
    """
    settings = {"num_samples": 5, "seed": 1, "kind": "regression", **settings}
    result = kerasdrop.mc_predict(
        model, x, keep_samples=True, verbose=0, **settings
    )
    tensors = keras.tree.map_structure(ops.convert_to_tensor, x)
    plain = model(tensors, training=False)
    paths = keras.tree.flatten_with_path(plain)
    samples = keras.tree.flatten(result["samples"])
    for (path, expected), received in zip(paths, samples, strict=True):
        expected = ops.convert_to_numpy(ops.cast(expected, "float32"))
        largest = np.abs(expected).max()
        assert largest > 0.0, f"output {path} is 0 and would hide anything"
        error = np.abs(received - expected[:, None]).max() / largest
        assert error <= tolerance, f"output {path} is off by {error:.3g}"
