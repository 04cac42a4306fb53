"""Dropout at the ends of stages."""

import keras
import pytest
from keras import layers as stock

from kerasdrop import insert_dropout
from kerasdrop import layers
from tests.support.inserted import assert_inserted
from tests.support.inserted import functional
from tests.support.inserted import randomized


def conv(name, activation="relu", **settings):
    return stock.Conv2D(
        3, 3, padding="same", activation=activation, name=name, **settings
    )


def top():
    return [stock.Flatten(), stock.Dense(3, name="top")]


def sequential(shape, *body):
    return randomized(keras.Sequential([keras.Input(shape), *body]))


def test_a_chain_has_one_before_each_fall(tmp_path):
    model = sequential(
        (8, 8, 3),
        conv("one"),
        conv("two"),
        stock.MaxPooling2D(),
        conv("three"),
        conv("four", "linear", strides=2),
        conv("five"),
        *top(),
    )
    behind, new, report = assert_inserted(model, tmp_path, where="stages")

    assert behind == ["two", "three", "five"]
    assert type(new) is keras.Sequential
    assert type(new.layers[2]) is layers.SpatialDropout2D
    assert new.layers[2].rate == 0.02
    assert report.loads_weights


def test_inputs_and_paddings_end_no_stage(tmp_path):
    model = sequential(
        (8, 8, 3),
        stock.ZeroPadding2D(),
        stock.Conv2D(3, 3, strides=2),
        stock.ReLU(name="relu"),
        stock.ZeroPadding2D(),
        stock.Conv2D(3, 3, strides=2),
        *top(),
    )
    assert assert_inserted(model, tmp_path, where="stages")[0] == ["relu"]


def test_a_sum_ends_a_stage_and_what_is_beside_it_does_not(tmp_path):
    x = keras.Input((8, 8, 3))
    h = conv("stem")(x)
    h = stock.Add(name="sum")([h, conv("branch")(h)])
    h = stock.AveragePooling2D(2)(h)
    h = conv("last")(h)
    h = stock.Dense(2)(stock.GlobalAveragePooling2D()(h))

    behind, _, _ = assert_inserted(functional(x, h), tmp_path, where="stages")

    assert behind == ["sum", "last"]


def test_sequences_have_stages(tmp_path):
    model = sequential(
        (8, 3),
        stock.Conv1D(3, 3, padding="same", activation="relu", name="one"),
        stock.MaxPooling1D(),
        stock.Conv1D(3, 3, padding="same", activation="relu", name="two"),
        *top(),
    )
    behind, new, _ = assert_inserted(model, tmp_path, where="stages")

    assert behind == ["one", "two"]
    assert type(new.layers[1]) is layers.LockedDropout


def test_channels_first_is_not_taken_for_a_size(tmp_path):
    settings = {"data_format": "channels_first"}
    model = sequential(
        (6, 8, 8),
        stock.UpSampling2D(1, **settings),
        stock.ReLU(name="one"),
        stock.AveragePooling2D(2, **settings),
        stock.ReLU(name="two"),
        *top(),
    )
    behind, new, _ = assert_inserted(model, tmp_path, where="stages")

    assert behind == ["one", "two"]
    assert new.layers[2].data_format == "channels_first"


def test_stages_of_nested_models_are_found(tmp_path):
    base = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            conv("one"),
            stock.MaxPooling2D(),
            conv("two"),
        ],
        name="base",
    )
    model = sequential((8, 8, 3), base, *top())

    _, _, report = assert_inserted(model, tmp_path, where="stages")

    assert list(report.inserted) == ["base/one_dropout", "base/two_dropout"]


def test_what_grows_again_ends_no_stage(tmp_path):
    model = sequential(
        (8, 8, 3),
        conv("one"),
        stock.MaxPooling2D(),
        conv("two"),
        stock.UpSampling2D(),
        conv("three"),
        conv("map", "sigmoid"),
    )
    assert assert_inserted(model, tmp_path, where="stages")[0] == ["one"]


def test_a_constant_size_has_no_stages():
    model = sequential((8, 8, 3), conv("one"), conv("map", "linear"))
    with pytest.raises(ValueError, match="(?s)never falls.*one"):
        insert_dropout(model, where="stages")


def test_unknown_sizes_are_refused():
    model = sequential((None, None, 3), conv("one"), stock.MaxPooling2D())
    with pytest.raises(ValueError, match="'one' makes is not known"):
        insert_dropout(model, where="stages")
