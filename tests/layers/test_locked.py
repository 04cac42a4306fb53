"""What LockedDropout has beyond the common table."""

import keras
import numpy as np
import pytest
from keras import ops

import kerasdrop
from kerasdrop.layers import LockedDropout
from kerasdrop.layers import SpatialDropout1D

INPUTS = np.random.default_rng(0).uniform(1, 2, (20, 6, 5)).astype("float32")


numpy = ops.convert_to_numpy


def test_a_unit_is_dropped_at_all_steps_or_at_none():
    kept = numpy(LockedDropout(0.5, seed=0)(INPUTS, training=True)) != 0
    np.testing.assert_array_equal(kept.all(axis=1), kept.any(axis=1))
    assert 0 < kept[:, 0].sum() < kept[:, 0].size


def test_of_sequences_of_vectors_the_mask_is_that_of_spatial_dropout():
    ours, spatial = (
        numpy(layer(0.5, seed=0)(INPUTS, training=True))
        for layer in (LockedDropout, SpatialDropout1D)
    )
    np.testing.assert_array_equal(ours, spatial)


def test_in_a_monte_carlo_pass_a_sample_has_one_mask_for_all_steps():
    model = keras.Sequential([keras.Input((6, 5)), LockedDropout(0.5)])
    samples = kerasdrop.mc_predict(
        model, INPUTS, 16, seed=0, keep_samples=True, verbose=0
    ).samples
    kept = samples != 0  # (rows, samples, steps, units)
    np.testing.assert_array_equal(kept.all(axis=2), kept.any(axis=2))
    assert kept.any()
    assert not kept.all()


def test_inputs_without_steps_are_refused():
    with pytest.raises(ValueError, match="min_ndim=3"):
        LockedDropout(0.5)(INPUTS[:, 0])
