"""Keras' own tests of its dropout layers, run on ours in their place.

They come from the installed wheel and are not part of its public interface.
What ours do otherwise is listed, with the reason.
"""

import keras
import pytest

try:
    from keras.src.layers.regularization import alpha_dropout_test
    from keras.src.layers.regularization import dropout_test
    from keras.src.layers.regularization import gaussian_dropout_test
    from keras.src.layers.regularization import spatial_dropout_test
except ImportError:
    pytest.skip("this Keras has no tests in it", allow_module_level=True)

from kerasdrop import layers
from tests.support import versions

pytestmark = pytest.mark.filterwarnings(
    # Of the training in Keras' own check of a layer.
    "ignore:`shuffle=True` was passed, but will be ignored:UserWarning",
    "ignore:The model does not have any trainable weights:UserWarning",
)

WORDING = "expects the wording of Keras"
GENERATORS = (
    "expects one seed generator: ours hold four states in that form (below)"
)
DIFFERENT = {
    "test_dropout_basics": GENERATORS,
    "test_alpha_dropout_basics": GENERATORS,
    "test_gaussian_dropout_basics": GENERATORS,
    "test_dropout_negative_rate": WORDING,
    "test_dropout_rate_greater_than_one": WORDING,
    "test_alpha_dropout_negative_rate": WORDING,
    "test_alpha_dropout_rate_greater_than_one": WORDING,
    "test_validate_noise_shape_non_iterable": WORDING,
    "test_validate_noise_shape_invalid_type": WORDING,
    "test_validate_noise_shape_negative_value": WORDING,
    "test_validate_noise_shape_zero_value": WORDING,
}


class _OurLayers:
    """`keras.layers` with our dropout layers in it."""

    def __getattr__(self, name):
        return getattr(layers, name, None) or getattr(keras.layers, name)


@pytest.fixture(autouse=True)
def _our_layers(monkeypatch):
    for module in (
        alpha_dropout_test,
        dropout_test,
        gaussian_dropout_test,
        spatial_dropout_test,
    ):
        monkeypatch.setattr(module, "layers", _OurLayers())


class TestKerasDropout(dropout_test.DropoutTest):
    pass


class TestKerasAlphaDropout(alpha_dropout_test.AlphaDropoutTest):
    pass


class TestKerasGaussianDropout(gaussian_dropout_test.GaussianDropoutTest):
    pass


class TestKerasSpatialDropout(spatial_dropout_test.SpatialDropoutTest):
    pass


_SUITES = (
    TestKerasDropout,
    TestKerasAlphaDropout,
    TestKerasGaussianDropout,
    TestKerasSpatialDropout,
)
_THEIRS = {name for suite in _SUITES for name in dir(suite)}
for _suite in _SUITES:
    for _name in DIFFERENT:
        if hasattr(_suite, _name):
            setattr(_suite, _name, None)


@versions.needs_keras("3.15", "has fewer tests of its dropout")
def test_each_difference_is_still_one_of_their_tests():
    assert set(DIFFERENT) - _THEIRS == set()


@pytest.mark.parametrize(
    "layer_class",
    [layers.Dropout, layers.AlphaDropout, layers.GaussianDropout],
)
def test_ours_pass_keras_layer_checks_with_their_own_counts(layer_class):
    # The tests of the basics with what is different: rate, key, step, draws.
    case = dropout_test.DropoutTest()
    case.run_layer_test(
        layer_class,
        init_kwargs={"rate": 0.2},
        input_shape=(2, 3),
        call_kwargs={"training": True},
        expected_output_shape=(2, 3),
        expected_num_trainable_weights=0,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=4,
        expected_num_losses=0,
        supports_masking=True,
        assert_built_after_instantiation=True,
    )


_NEW = {
    "FeatureAlphaDropout": {},
    "DropPath": {},
    "DropBlock2D": {"block_size": 2},
}


@pytest.mark.parametrize("name", _NEW)
def test_layers_that_keras_has_not_pass_its_layer_checks(name):
    case = dropout_test.DropoutTest()
    case.run_layer_test(
        getattr(layers, name),
        init_kwargs={"rate": 0.2, **_NEW[name]},
        input_shape=(2, 3, 4, 5),
        call_kwargs={"training": True},
        expected_output_shape=(2, 3, 4, 5),
        expected_num_trainable_weights=0,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=4,
        expected_num_losses=0,
        supports_masking=True,
        assert_built_after_instantiation=True,
    )
