"""Monte Carlo prediction of the models of `keras.applications`."""

import keras
import numpy as np
import pytest
from keras import applications
from keras.src.applications import convnext
from keras.src.applications import efficientnet

from tests.support import foreign_checks as checks
from tests.support import helpers

pytestmark = pytest.mark.slow

SIZE = {"weights": None, "input_shape": (32, 32, 3), "classes": 3}


def _efficientnet():
    # EfficientNetB0 without its four last stages: all of its 238 layers take
    # minutes to compile on JAX.
    return efficientnet.EfficientNet(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        default_size=32,
        drop_connect_rate=0.4,
        blocks_args=efficientnet.DEFAULT_BLOCKS_ARGS[:3],
        **SIZE,
    )


def _convnext():
    # The models that are public have no argument for the drop path.
    return convnext.ConvNeXt(
        depths=(1, 1, 2, 1),
        projection_dims=(8, 16, 16, 16),
        drop_path_rate=0.3,
        layer_scale_init_value=1.0,
        weights_name="",
        name="convnext",
        **SIZE,
    )


MODELS = {
    "EfficientNet": _efficientnet,
    "ConvNeXt": _convnext,
    "MobileNetV3Small": lambda: applications.MobileNetV3Small(**SIZE),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    keras.utils.set_random_seed(0)
    model = MODELS[request.param]()
    images = np.random.default_rng(0).uniform(0, 255, (32, 32, 32, 3))
    images = images.astype("float32")
    checks.freeze_batch_norm(model, images)
    return checks.predicted(model, images[: checks.ROWS], "probabilities")


def test_every_row_varies(case):
    checks.assert_every_row_varies(case)


def test_the_batch_size_does_not_count(case):
    checks.assert_batch_size_does_not_count(case)


def test_the_model_is_left_as_it_was(case):
    checks.assert_untouched(case)


def test_the_same_layers_draw_as_in_training(case, monkeypatch):
    checks.assert_same_layers_draw_as_in_training(case, monkeypatch)


def test_samples_are_distributed_as_in_training(case):
    checks.assert_as_in_training(case)


def test_stochastic_depth_drops_the_branch_of_a_row():
    """`x / (1 - rate)` or nothing at all, by the row."""
    layer = convnext.StochasticDepth(0.4)
    model = keras.Sequential([keras.Input((4, 4, 3)), layer])
    samples = checks.samples_of(
        model, np.ones((32, 4, 4, 3), "float32"), "regression", 64, 32
    ).reshape(32 * 64, -1)
    np.testing.assert_array_equal(samples, samples[:, :1].repeat(48, axis=1))
    values = samples[:, 0]
    assert np.isin(values, np.float32([0.0, 1.0 / 0.6])).all()
    helpers.assert_proportion(values == 0.0, 0.4)
