"""The rate stays float32, whatever the layer computes in."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop.layers import ClassicDropout
from kerasdrop.layers import Dropout
from tests.support import probes
from tests.support.helpers import assert_proportion

POLICIES = ["float32", "float16", "mixed_float16", "mixed_bfloat16"]
if keras.backend.backend() != "jax":  # it has float64 only by its own option
    POLICIES.append("float64")


@pytest.mark.parametrize("policy", POLICIES)
def test_the_outputs_are_of_the_compute_dtype(policy):
    layer = Dropout(0.5, dtype=policy)
    outputs = layer(np.ones((2, 3), "float32"), training=True)
    dtype = keras.backend.standardize_dtype(outputs.dtype)
    assert dtype == layer.compute_dtype


@pytest.mark.parametrize("policy", POLICIES)
def test_the_rate_is_not_rounded_by_the_policy(policy):
    layer = Dropout(0.3, dtype=policy)
    dtypes = {v.name: v.dtype for v in layer.variables}
    assert dtypes["rate"] == "float32"


@pytest.mark.parametrize("policy", POLICIES)
def test_the_masks_do_not_depend_on_the_policy(policy):
    inputs = np.ones((20, 500), "float32")
    outputs = Dropout(0.3, seed=0, dtype=policy)(inputs, training=True)
    reference = Dropout(0.3, seed=0)(inputs, training=True)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(ops.cast(outputs, "float32")) == 0,
        ops.convert_to_numpy(reference) == 0,
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_the_scale_is_rounded_once_to_the_dtype(policy):
    layer = Dropout(0.3, seed=0, dtype=policy)
    outputs = ops.max(layer(np.ones((20, 50), "float32"), training=True))
    expected = ops.cast(1 / (1 - np.float32(0.3)), layer.compute_dtype)
    np.testing.assert_allclose(float(outputs), float(expected), rtol=2e-7)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_small_rates_are_met_in_low_precision(policy):
    layer = Dropout(0.001, seed=0, dtype=policy)
    outputs = layer(np.ones((1000, 1000), "float32"), training=True)
    zeroed = ops.convert_to_numpy(outputs == 0)
    assert_proportion(zeroed, 0.001)


def test_a_model_of_mixed_precision_trains():
    model = keras.Sequential(
        [
            keras.layers.Dense(4, dtype="mixed_float16"),
            Dropout(0.5, dtype="mixed_float16"),
            ClassicDropout(0.5, dtype="mixed_float16"),
            keras.layers.Dense(1, dtype="float32"),
        ]
    )
    model.compile("sgd", "mse")
    history = model.fit(probes.ones(), probes.targets(), verbose=0)
    assert np.isfinite(history.history["loss"][0])
