"""Many devices draw what one draws."""

import keras
import numpy as np
import pytest

from tests.support import helpers

BACKEND = keras.backend.backend()

_MODEL = """
import warnings
import keras
import numpy as np
import kerasdrop

def make():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, activation="relu"),
            kerasdrop.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )

def show(model):
    # 13 rows in batches of 6: neither divides.
    x = np.random.default_rng(0).normal(size=(13, 8)).astype("float32")
    result = kerasdrop.mc_predict(
        model, x, 20, seed=1, kind="regression", keep_samples=True,
        batch_size=6, verbose=0,
    )
    assert result.samples.shape == (13, 20, 3)
    print(" ".join(f"{value:.9g}" for value in result.samples.ravel()))
"""

_ONE = _MODEL + "show(make())\n"

_MESH = (
    """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
"""
    + _MODEL
    + """
import jax
assert len(jax.devices()) == 8
keras.distribution.set_distribution(keras.distribution.DataParallel())
seen = []
over = kerasdrop.montecarlo.engine.engine.Engine.over
def watched(self, batch):
    seen.append(len(batch.inputs.sharding.device_set))
    assert batch.inputs.shape == (8, 8)
    return over(self, batch)
kerasdrop.montecarlo.engine.engine.Engine.over = watched
show(make())
assert seen == [8] * 3
"""
)

_MIRRORED = (
    """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
"""
    + _MODEL
    + """
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = make()
show(model)
"""
)


def samples_of(code):
    lines = helpers.run_python(code, BACKEND).splitlines()
    return np.array(lines[-1].split(), "float64")


@pytest.mark.parametrize(
    ("backend", "code"), [("jax", _MESH), ("tensorflow", _MIRRORED)]
)
def test_devices_together_draw_what_one_draws(backend, code):
    if backend != BACKEND:
        pytest.skip(f"several devices of {backend}")
    np.testing.assert_allclose(
        samples_of(code), samples_of(_ONE), rtol=1e-5, atol=1e-6
    )
