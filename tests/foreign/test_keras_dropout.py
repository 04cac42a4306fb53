"""Keras' own tests of its dropout layer, run on ours in its place.

They come from the installed wheel and are not part of its public interface.
What ours does otherwise is listed, with the reason.
"""

import keras
import pytest

try:
    from keras.src.layers.regularization import dropout_test
except ImportError:
    pytest.skip("this Keras has no tests in it", allow_module_level=True)

from kerasdrop.layers import Dropout

DIFFERENT = {
    "test_dropout_basics": (
        "expects one seed generator: ours hold four states in that form"
    ),
    "test_dropout_negative_rate": "expects the wording of Keras",
    "test_dropout_rate_greater_than_one": "expects the wording of Keras",
    "test_validate_noise_shape_non_iterable": "expects the wording of Keras",
    "test_validate_noise_shape_invalid_type": "expects the wording of Keras",
    "test_validate_noise_shape_negative_value": "expects the wording of Keras",
    "test_validate_noise_shape_zero_value": "expects the wording of Keras",
}


class _OurLayers:
    """`keras.layers` with our dropout layer in it."""

    Dropout = Dropout

    def __getattr__(self, name):
        return getattr(keras.layers, name)


@pytest.fixture(autouse=True)
def _our_dropout(monkeypatch):
    monkeypatch.setattr(dropout_test, "layers", _OurLayers())


class TestKerasDropout(dropout_test.DropoutTest):
    pass


for _name, _reason in DIFFERENT.items():
    setattr(TestKerasDropout, _name, None)


def test_each_difference_is_still_one_of_their_tests():
    missing = [
        name
        for name in DIFFERENT
        if not hasattr(dropout_test.DropoutTest, name)
    ]
    assert missing == []


@pytest.mark.filterwarnings(
    # Of the training in Keras' own check.
    "ignore:`shuffle=True` was passed, but will be ignored:UserWarning",
    "ignore:The model does not have any trainable weights:UserWarning",
)
def test_ours_passes_keras_layer_checks_with_its_own_counts():
    # `test_dropout_basics` with what is different: rate, key, step, draws.
    case = dropout_test.DropoutTest()
    case.run_layer_test(
        Dropout,
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
