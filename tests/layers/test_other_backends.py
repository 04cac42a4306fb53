"""A model that was saved on one backend goes on on another.

Each of the three backends saves a model once; this process loads all three.
Together the three runs of the suite make the nine combinations.
"""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers  # noqa: F401  registers them
from tests.support.helpers import run_python

SAVE = """
import keras
import numpy as np
from keras import ops

from kerasdrop.layers import ClassicDropout, Dropout

schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.5)
model = keras.Sequential([
    keras.Input((6,)),
    keras.layers.Dense(5, activation="relu"),
    ClassicDropout(0.5, name="live"),
    keras.layers.BatchNormalization(),
    ClassicDropout(schedule, name="scheduled"),
    Dropout(0.5, seed=3, name="seeded"),
    keras.layers.Dense(2),
])
inputs = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")
for _ in range(3):
    model(inputs, training=True)
model.get_layer("live").rate = 0.3
model.save("{folder}/{backend}.keras")
ones = np.ones((4, 50), "float32")
masks = [
    ops.convert_to_numpy(model.get_layer(name)(ones, training=True)) != 0
    for name in ("live", "scheduled", "seeded")
]
np.savez(
    "{folder}/{backend}.npz",
    predictions=ops.convert_to_numpy(model(inputs)),
    masks=np.array(masks),
)
"""
BACKENDS = ["tensorflow", "jax", "torch"]
INPUTS = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for backend in BACKENDS:
        run_python(SAVE.format(folder=folder, backend=backend), backend)
    return folder


def load(folder, backend):
    model = keras.models.load_model(folder / f"{backend}.keras")
    with np.load(folder / f"{backend}.npz") as saved:
        return model, dict(saved)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_rate_and_the_steps_arrive(folder, backend):
    model, _ = load(folder, backend)
    live, scheduled = model.get_layer("live"), model.get_layer("scheduled")
    assert (live.rate, live.step, scheduled.step) == (0.3, 3, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_next_masks_are_the_same(folder, backend):
    model, saved = load(folder, backend)
    ones = np.ones((4, 50), "float32")
    masks = [
        ops.convert_to_numpy(model.get_layer(name)(ones, training=True)) != 0
        for name in ("live", "scheduled", "seeded")
    ]
    np.testing.assert_array_equal(masks, saved["masks"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_predictions_are_the_same(folder, backend):
    model, saved = load(folder, backend)
    for name in ("live", "scheduled", "seeded"):  # as the process that saved
        model.get_layer(name)(np.ones((4, 50), "float32"), training=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(INPUTS)),
        saved["predictions"],
        rtol=1e-5,
        atol=1e-6,  # values near 0 are differences of larger ones
    )
