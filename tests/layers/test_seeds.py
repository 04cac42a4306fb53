"""Which layers draw the same masks, and which never do."""

import random

import keras
import numpy as np
import pytest
from keras import ops

from kerasdrop import layers as ours
from kerasdrop.layers import Dropout
from tests.support.helpers import assert_proportion

INPUTS = np.ones((20, 500), "float32")


def masks_of(layer, num_draws=1):
    """The masks of successive training calls: bool (num_draws, 20, 500)."""
    return np.stack(
        [
            ops.convert_to_numpy(layer(INPUTS, training=True)) == 0
            for _ in range(num_draws)
        ]
    )


def test_layers_of_one_seed_draw_the_same_masks():
    first = masks_of(Dropout(0.5, seed=7), 3)
    np.testing.assert_array_equal(first, masks_of(Dropout(0.5, seed=7), 3))


def test_the_name_of_a_layer_does_not_matter():
    first = masks_of(Dropout(0.5, seed=7, name="first"))
    second = masks_of(Dropout(0.5, seed=7, name="second"))
    np.testing.assert_array_equal(first, second)


def test_successive_masks_are_independent():
    masks = masks_of(Dropout(0.5, seed=7), 2)
    assert_proportion(masks[0] == masks[1], 0.5)


def test_layers_of_neighbouring_seeds_share_no_mask_at_any_lag():
    masks = [masks_of(Dropout(0.5, seed=seed), 4) for seed in (0, 1, 2)]
    rows = np.concatenate(masks).reshape(-1, INPUTS.shape[1])
    # Not even a row: 240 rows of 500 bits collide by chance in 2**-484.
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_unseeded_layers_share_no_mask():
    masks = [masks_of(Dropout(0.5), 4) for _ in range(3)]
    rows = np.concatenate(masks).reshape(-1, INPUTS.shape[1])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_set_random_seed_makes_unseeded_layers_reproducible():
    keras.utils.set_random_seed(5)
    first = [masks_of(Dropout(0.5)), masks_of(Dropout(0.5))]
    keras.utils.set_random_seed(5)
    second = [masks_of(Dropout(0.5)), masks_of(Dropout(0.5))]
    np.testing.assert_array_equal(first, second)


def test_drawing_takes_nothing_from_the_generator():
    layer = Dropout(0.5)
    state = random.getstate()
    layer(INPUTS, training=True)
    assert random.getstate() == state


def test_an_explicit_seed_takes_nothing_from_the_generator():
    state = random.getstate()
    Dropout(0.5, seed=3)
    assert random.getstate() == state


@pytest.mark.parametrize("seed", [0, -1, 2**31, 2**63 + 5, np.int64(7)])
def test_any_integer_is_a_seed(seed):
    assert Dropout(0.5, seed=seed).get_config()["seed"] == int(seed)


def test_the_mask_of_a_row_does_not_depend_on_the_batch_size():
    layer, other = Dropout(0.5, seed=7), Dropout(0.5, seed=7)
    few = ops.convert_to_numpy(layer(INPUTS[:5], training=True))
    many = ops.convert_to_numpy(other(INPUTS, training=True))
    np.testing.assert_array_equal(few, many[:5])


SAME_NAMES = {
    "Dropout": {"rate": 0.5},
    "SpatialDropout1D": {"rate": 0.5},
    "AlphaDropout": {"rate": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "MultiHeadAttention": {"num_heads": 2, "key_dim": 3, "dropout": 0.5},
    "GroupQueryAttention": {
        "head_dim": 3,
        "num_query_heads": 2,
        "num_key_value_heads": 1,
        "dropout": 0.5,
    },
}
RATES = [
    (name, {**arguments, argument: rate, "seed": seed})
    for name, arguments in SAME_NAMES.items()
    for argument in {"rate", "dropout"} & set(arguments)
    for rate, seed in ((0.5, None), (0.0, None), (0.5, 3))
]


@pytest.mark.parametrize(("name", "arguments"), RATES)
def test_weights_are_those_behind_the_stock_layer(name, arguments):
    def weights(package):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4, 6))
        x = keras.layers.Dense(6)(inputs)
        for _ in range(2):
            layer = getattr(package, name)(**arguments)
            x = layer(x, x) if "dropout" in arguments else layer(x)
            x = keras.layers.Dense(6)(x)
        return keras.Model(inputs, x).get_weights()

    for mine, theirs in zip(weights(ours), weights(keras.layers), strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Attends(keras.Model):
    """Keras builds what is in it while it looks for shapes."""

    def __init__(self, initializer):
        super().__init__()
        self.layers_ = [
            ours.MultiHeadAttention(
                1, 3, dropout=0.5, kernel_initializer=initializer
            )
            for _ in range(2)
        ]

    def call(self, x):
        for layer in self.layers_:
            x = layer(x, x)
        return x


@pytest.mark.parametrize("initializer", ["glorot_uniform", "zeros"])
def test_unseeded_attention_layers_share_no_mask(initializer):
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        model = Attends(initializer)
        model(keras.KerasTensor((2, 20, 6)))
        found.append(
            [masks_of(layer._dropout_layer) for layer in model.layers_]
        )
    np.testing.assert_array_equal(found[0], found[1])
    assert_proportion(found[0][0] == found[0][1], 0.5)


def test_layers_made_at_rate_0_share_no_mask():
    layers = [Dropout(0.0), Dropout(0.0), Dropout(0.5)]
    for layer in layers:
        layer.rate = 0.5
    masks = np.concatenate([masks_of(layer) for layer in layers])
    rows = masks.reshape(-1, INPUTS.shape[1])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_a_layer_made_at_rate_0_is_reproducible_in_a_new_session():
    found = []
    for _ in range(2):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(5)
        layer = Dropout(0.0)
        layer.rate = 0.5
        found.append(masks_of(layer))
    np.testing.assert_array_equal(found[0], found[1])
