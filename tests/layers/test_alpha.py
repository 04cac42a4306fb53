"""Alpha dropout keeps a mean of 0 and a variance of 1."""

import numpy as np
import pytest
from keras import ops

from kerasdrop.layers import AlphaDropout
from kerasdrop.layers import FeatureAlphaDropout
from tests.support.helpers import assert_mean

ROWS, CHANNELS = 400, 50


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("layer_class", [AlphaDropout, FeatureAlphaDropout])
def test_a_mean_of_0_and_a_variance_of_1_are_kept(layer_class, rate):
    inputs = np.random.default_rng(0).normal(size=(ROWS, 3, CHANNELS))
    layer = layer_class(rate, seed=0)
    outputs = ops.convert_to_numpy(layer(inputs, training=True))
    # Units of a channel may fall together: one of each is independent.
    independent = outputs[:, 0].astype("float64")
    assert_mean(independent, 0.0, 1.0)
    squares = independent**2
    assert_mean(squares, 1.0, squares.std())


def test_units_drop_to_one_value_near_the_limit_of_selu():
    # Values of the paper's figures: limit -1.7581, a and b by its formula.
    outputs = ops.convert_to_numpy(
        AlphaDropout(0.1, seed=0)(np.full((20, 50), 9.0), training=True)
    )
    a = (0.9 * (1.0 + 0.1 * 1.7580993**2)) ** -0.5
    values = [a * -1.7580993 + a * 1.7580993 * 0.1, a * 9.0 + a * 0.17580993]
    np.testing.assert_allclose(np.unique(outputs), values, rtol=1e-5)


@pytest.mark.parametrize("layer_class", [AlphaDropout, FeatureAlphaDropout])
def test_rate_one_keeps_the_mean_and_has_no_variance(layer_class):
    outputs = layer_class(1.0)(np.ones((4, 3, 5)), training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs), 0.0)


def test_inputs_without_channels_are_refused():
    with pytest.raises(ValueError, match="expected min_ndim=2, found ndim=1"):
        FeatureAlphaDropout(0.5)(np.ones(3))


def test_a_data_format_is_one_of_two():
    message = '"channels_last" or "channels_first". Received: data_format='
    with pytest.raises(ValueError, match=message):
        FeatureAlphaDropout(0.5, data_format="NHWC")
