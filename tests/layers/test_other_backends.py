"""A model that was saved on one backend goes on on another.

A process on each of the three backends saves a model once; this process loads
all three. Together the three runs of the suite make the nine combinations.
"""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers  # noqa: F401  registers them
from tests.support import other_backends

BACKENDS = other_backends.BACKENDS
INPUTS = np.linspace(-1, 1, 24).reshape(4, 6).astype("float32")


def load(backend):
    folder = other_backends.folder_of(backend)
    model = keras.models.load_model(folder / "model.keras")
    with np.load(folder / "expected.npz") as saved:
        return model, dict(saved)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_rate_and_the_steps_arrive(backend):
    model, _ = load(backend)
    live, scheduled = model.get_layer("live"), model.get_layer("scheduled")
    assert (live.rate, live.step, scheduled.step) == (0.3, 3, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_next_masks_are_the_same(backend):
    model, saved = load(backend)
    ones = np.ones((4, 50), "float32")
    masks = [
        ops.convert_to_numpy(model.get_layer(name)(ones, training=True)) != 0
        for name in ("live", "scheduled", "seeded")
    ]
    np.testing.assert_array_equal(masks, saved["masks"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_predictions_are_the_same(backend):
    model, saved = load(backend)
    for name in ("live", "scheduled", "seeded"):  # as the process that saved
        model.get_layer(name)(np.ones((4, 50), "float32"), training=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(INPUTS)),
        saved["predictions"],
        rtol=1e-5,
        atol=1e-6,  # values near 0 are differences of larger ones
    )
