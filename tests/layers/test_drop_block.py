"""Blocks: how often a unit falls, at the borders too, and what is kept."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import masks
from kerasdrop.layers import DropBlock1D
from kerasdrop.layers import DropBlock2D
from kerasdrop.layers import DropBlock3D
from kerasdrop.masks import keeping
from tests.support import helpers

ROWS, CHANNELS = 300, 16


def outputs_of(layer, sizes, channels=CHANNELS, rows=ROWS):
    """`(rows, *sizes, channels)`, of ones."""
    first = layer.data_format == "channels_first"
    shape = (rows, channels, *sizes) if first else (rows, *sizes, channels)
    outputs = ops.convert_to_numpy(
        layer(np.ones(shape, "float32"), training=True)
    )
    return np.moveaxis(outputs, 1, -1) if first else outputs


def blocks_over(sizes, block_size):
    """For each unit, how many places of a block cover it, one by one."""
    counts = np.zeros(sizes, int)
    places = [f - b + 1 for f, b in zip(sizes, block_size)]
    for place in np.ndindex(*places):
        counts[tuple(slice(p, p + b) for p, b in zip(place, block_size))] += 1
    return counts


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    ("layer_class", "sizes", "block_size", "rate", "gamma"),
    [
        # The numbers of the paper: a block of 7, maps of 14, 0.9 kept.
        (DropBlock2D, (14, 14), (7, 7), 0.1, 0.00625),
        # .5 / (2 * 3) * (5 * 9) / (4 * 7), by hand.
        (DropBlock2D, (5, 9), (2, 3), 0.5, 0.13392857142857142),
        (DropBlock1D, (10,), (4,), 0.28, 0.1),
        (DropBlock3D, (2, 3, 4), (2, 2, 2), 0.3, 0.15),
    ],
)
def test_a_unit_falls_as_often_as_blocks_that_cover_it_begin(
    layer_class, sizes, block_size, rate, gamma, data_format
):
    layer = layer_class(rate, block_size, data_format, seed=0)
    fallen = outputs_of(layer, sizes) == 0
    falls = 1 - (1 - gamma) ** blocks_over(sizes, block_size)
    for place in np.ndindex(*sizes):
        here = fallen[(slice(None), *place)]  # independent
        helpers.assert_proportion(here, falls[place])


@pytest.mark.parametrize(
    ("rate", "share"), [(0.1, 0.093), (0.5, 0.358), (1.0, 0.549)]
)
def test_the_share_that_falls_is_the_documented_one(rate, share):
    # Of Ghiasi et al. 2018, equation 1, whose overlaps are not counted.
    gamma = rate * 14**2 / (7**2 * 8**2)
    falls = 1 - (1 - gamma) ** blocks_over((14, 14), (7, 7))
    assert round(falls.mean(), 3) == share
    outputs = outputs_of(DropBlock2D(rate, 7, seed=0), (14, 14))
    by_map = (outputs == 0).mean(axis=(1, 2))  # maps are independent
    helpers.assert_mean(by_map, falls.mean(), by_map.std())


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_blocks_of_one_are_dropout_of_units(rate):
    fallen = outputs_of(DropBlock2D(rate, 1, seed=0), (4, 6)) == 0
    helpers.assert_proportion(fallen, rate)


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_blocks_as_large_as_the_map_are_dropout_of_channels(rate):
    fallen = outputs_of(DropBlock2D(rate, (4, 6), seed=0), (4, 6)) == 0
    np.testing.assert_array_equal(
        fallen.all(axis=(1, 2)), fallen.any(axis=(1, 2))
    )
    helpers.assert_proportion(fallen[:, 0, 0], rate)


def test_the_mean_of_a_row_of_ones_stays():
    outputs = outputs_of(DropBlock2D(0.4, 3, seed=0), (5, 9))
    means = outputs.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, np.ones(ROWS), rtol=1e-5)
    # One factor for all that is kept of a row.
    for row in outputs:
        assert len(np.unique(row)) == 2


def test_a_row_of_which_nothing_is_kept_is_zero():
    layer = DropBlock1D(0.5, 3, seed=0)
    outputs = outputs_of(layer, (3,), channels=1)[..., 0]
    assert set(map(tuple, outputs)) == {(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)}


@pytest.mark.parametrize("length", range(1, 10))
def test_runs_of_any_length_are_exact(length):
    draw = masks.Draw(masks.key_of_seed(0), np.int32(0))
    inputs = ops.ones((20, 30, 1))
    probability = ops.convert_to_tensor(0.1, "float32")
    mask = functools.partial(masks.block_keep_mask, draw, probability)
    keep = ops.convert_to_numpy(mask(inputs, (length,), 1))[..., 0]
    # Blocks of one, on as many places as there are for longer ones.
    places = ops.ones((20, 30 - length + 1, 1))
    begins = ~ops.convert_to_numpy(mask(places, (1,), 1))[..., 0]
    expected = np.ones((20, 30), bool)
    for row, place in np.argwhere(begins):
        expected[row, place : place + length] = False
    np.testing.assert_array_equal(keep, expected)


@pytest.mark.parametrize(
    ("block_size", "data_format", "shape"),
    [
        ((5, 1), "channels_last", (2, 4, 9, 3)),
        (5, "channels_first", (2, 9, 9, 4)),
    ],
)
def test_a_block_that_does_not_fit_is_refused(block_size, data_format, shape):
    message = "Make it smaller, or use `SpatialDropout2D`.* Received: block_s"
    layer = DropBlock2D(0.1, block_size, data_format)
    with pytest.raises(ValueError, match=message):
        layer(np.ones(shape), training=True)
    with pytest.raises(ValueError, match=message):
        layer(keras.Input(shape[1:]))


@pytest.mark.parametrize("block_size", [0, -1, 2.0, True, (3,), (3, 3, 3), "7"])
def test_a_block_size_is_an_integer_or_one_for_each_axis(block_size):
    message = "at least 1, or a tuple of 2 of them. Received: block_size="
    with pytest.raises(ValueError, match=message):
        DropBlock2D(0.1, block_size)


def test_inputs_of_another_rank_are_refused():
    with pytest.raises(ValueError, match="expected ndim=4, found ndim=3"):
        DropBlock2D(0.1, 3)(np.ones((2, 9, 9)), training=True)


def test_every_word_begins_a_block_at_a_probability_of_one(monkeypatch):
    highest = 2**31 - 1  # 256 of 2**32 words are above the threshold
    monkeypatch.setattr(
        keeping, "words", lambda _, shape: ops.full(shape, highest, "int32")
    )
    # Not what TensorFlow compiles, and keeps for the tests behind this one.
    monkeypatch.setattr(keeping, "_fused_block_keep", keeping._block_keep)
    draw = masks.Draw(masks.key_of_seed(0), np.int32(0))
    probability = ops.convert_to_tensor(1.0, "float32")
    keep = masks.block_keep_mask(
        draw, probability, ops.ones((2, 3, 11)), (2,), 1
    )
    assert not ops.convert_to_numpy(keep).any()
