"""What `inspect` tells about a model."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import kerasdrop
from tests.support.zoo import graphs


def image_classifier():
    x = keras.Input((None, None, 3))
    h = layers.RandomFlip(name="flip")(x)
    h = layers.Conv2D(8, 3, name="conv")(h)  # 62 * 62 * 27 * 8 multiply-adds
    h = layers.GlobalAveragePooling2D()(h)
    h = layers.Dropout(0.3, name="late")(h)
    h = layers.Dense(4)(h)  # 8 * 4
    return keras.Model(x, layers.Dropout(0.0, name="off")(h))


def test_each_layer_that_could_be_random_is_listed():
    found = kerasdrop.inspect(image_classifier()).layers
    listed = {one.path: (one.rate, one.is_drawn) for one in found}
    assert listed == {
        "flip": (None, False),
        "late": (0.3, True),
        "off": (0.0, False),
    }
    reasons = {one.path: one.why for one in found}
    assert "augmentation" in reasons["flip"]
    assert "rate is 0" in reasons["off"]


def test_the_prefix_is_measured():
    prefix = kerasdrop.inspect(image_classifier()).prefix
    assert prefix.ends_at == ("late",)
    assert prefix.share_of_layers == 3 / 6
    of_conv, of_dense = 62 * 62 * 27 * 8, 8 * 4
    share = of_conv / (of_conv + of_dense)
    assert prefix.share_of_multiply_adds == pytest.approx(share, rel=1e-12)
    assert prefix.leaves_batch_at == ()


def test_a_recurrent_layer_counts_its_steps():
    x = keras.Input((5, 4))
    h = layers.Dense(3)(x)  # 5 * 12
    h = layers.LSTM(2, dropout=0.2, name="lstm")(h)  # 5 * 4 * (3 * 2 + 2 * 2)
    prefix = kerasdrop.inspect(keras.Model(x, h)).prefix
    assert prefix.ends_at == ("lstm",)
    assert prefix.share_of_multiply_adds == pytest.approx(60 / 260)


def test_where_axis_0_stops_being_the_batch_is_named():
    x = keras.Input((4, 2))
    h = layers.Dropout(0.5)(x)
    h = layers.Dense(1)(keras.ops.reshape(h, (-1, 2)))
    h = keras.ops.reshape(h, (-1, 4))
    found = kerasdrop.inspect(keras.Model(x, h))
    (name,) = found.prefix.leaves_batch_at
    assert name.startswith("reshape")
    assert "no longer the batch" in str(found)


def test_a_model_that_is_refused_is_told_with_the_reason():
    x = keras.Input((4,))
    h = keras.ops.sum(layers.Dropout(0.5)(x), axis=0, keepdims=True)
    found = kerasdrop.inspect(keras.Model(x, h))
    assert found.prefix is None
    expected = r"operation 'sum\w*' \(Sum\) .* \(1, 4\).*vectorized=False"
    assert re.search(expected, found.refusal)
    assert found.refusal in str(found)
    assert [one.is_drawn for one in found.layers] == [True]


def test_an_unknown_layer_is_listed_with_the_way_out():
    class Unknown(layers.Layer):
        def __init__(self):
            super().__init__(name="mine")
            self.generator = keras.random.SeedGenerator(0)

        def call(self, inputs):
            return inputs

    x = keras.Input((4,))
    model = keras.Model(x, Unknown()(layers.Dropout(0.5)(x)))
    (mine,) = [
        one for one in kerasdrop.inspect(model).layers if one.path == "mine"
    ]
    assert not mine.is_drawn
    assert "register_stochastic" in mine.why


def test_a_model_without_randomness():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    found = kerasdrop.inspect(model)
    assert found.layers == ()
    assert found.prefix.share_of_layers == 1.0
    assert "keras.layers.Dense" in str(found)


def test_a_subclassed_model_has_no_prefix():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dropout = layers.Dropout(0.5)

        def call(self, inputs):
            return self.dropout(inputs)

    model = Net()
    model(np.ones((2, 3), "float32"))
    found = kerasdrop.inspect(model)
    assert found.prefix is None
    assert [one.path for one in found.layers] == ["dropout"]


@pytest.mark.parametrize(
    "make", graphs.TOPOLOGIES, ids=lambda make: make.__name__
)
def test_every_topology_is_read_and_left_as_it_was(make):
    model = make()
    before = model.get_config(), [len(x._inbound_nodes) for x in model.layers]
    found = kerasdrop.inspect(model)
    after = model.get_config(), [len(x._inbound_nodes) for x in model.layers]
    assert any(one.is_drawn for one in found.layers)
    assert found.prefix.ends_at
    assert after == before


def test_nothing_stochastic_is_told_with_the_table():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dropout(0.0, name="off"), layers.Dense(2)]
    )
    with pytest.raises(ValueError, match="off .*no: its rate is 0"):
        kerasdrop.mc_predict(model, np.ones((2, 3)))


def test_what_is_no_model():
    with pytest.raises(ValueError, match="inspect: .*must be a Keras model"):
        kerasdrop.inspect("model")
