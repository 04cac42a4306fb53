"""What DropPath has beyond the common table."""

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import schedules
from kerasdrop.layers import DropPath

INPUTS = np.random.default_rng(0).uniform(1, 2, (50, 3, 4)).astype("float32")


numpy = ops.convert_to_numpy


@pytest.mark.parametrize("training", [True, False])
def test_the_scalings_are_one_model_up_to_the_size_of_the_branch(training):
    inverted, classic = (
        numpy(DropPath(0.2, scaling, seed=0)(INPUTS, training=training))
        for scaling in ("inverted", "classic")
    )
    np.testing.assert_allclose(classic, 0.8 * inverted, rtol=1e-6)


def test_a_row_is_kept_or_dropped_as_a_whole():
    kept = numpy(DropPath(0.5, seed=0)(INPUTS, training=True)) != 0
    kept = kept.reshape(50, -1)
    np.testing.assert_array_equal(kept.all(axis=1), kept.any(axis=1))
    assert 0 < kept[:, 0].sum() < 50


def test_inputs_may_be_one_number_a_row():
    outputs = numpy(DropPath(0.5, seed=0)(np.ones(100), training=True))
    assert set(outputs) == {0.0, 2.0}


def test_another_scaling_is_refused():
    message = '`scaling` must be "inverted" or "classic". Received: scaling='
    with pytest.raises(ValueError, match=message):
        DropPath(0.5, scaling="scale_by_keep")


def test_rates_by_depth_and_over_training_combine():
    """ScheduledDropPath, Zoph et al. 2018: each rate rises to its own end."""
    rates = schedules.linear_depth_rates(4, 0.4)
    stack = [
        DropPath(schedules.Linear(0.0, rate, num_steps=2)) for rate in rates
    ]
    model = keras.Sequential([keras.Input((3,)), *stack])
    model(np.ones((2, 3)), training=True)
    np.testing.assert_allclose(
        [layer.rate for layer in stack], [0.05, 0.1, 0.15, 0.2], rtol=1e-6
    )
