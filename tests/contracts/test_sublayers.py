"""`model_tree` relies on a private method to see inside of layers."""

import keras
from keras import layers

from kerasdrop._structure import model_tree


def names(layer):
    return [sublayer.name for sublayer in model_tree.sublayers(layer)]


def test_a_model_lists_what_its_public_property_lists():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1)(layers.Dense(2)(inputs)))
    assert model_tree.sublayers(model) == model.layers


def test_a_sequential_model_does_not_list_its_private_graph():
    model = keras.Sequential(
        [keras.Input((4,), name="x"), layers.Dense(1, name="dense")]
    )
    assert names(model) == ["x", "dense"]


def test_a_layer_lists_its_attributes_in_order_and_in_containers():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.zeroth = layers.Dense(1, name="a")
            self.listed = [layers.Dense(1, name="b")]
            self.named = {"key": layers.Dense(1, name="c")}

    assert names(Block()) == ["a", "b", "c"]


def test_a_layer_does_not_list_what_is_deeper():
    inner = layers.TimeDistributed(layers.Dense(1, name="deep"), name="inner")
    assert names(keras.Sequential([inner])) == ["inner"]


def test_the_layers_that_preprocess():
    for layer in (layers.RandomFlip(), layers.Rescaling(2.0)):
        assert model_tree.is_preprocessing(layer)
    for layer in (layers.Dense(1), layers.Dropout(0.5), layers.Reshape((2,))):
        assert not model_tree.is_preprocessing(layer)


def test_the_cell_of_convolutional_recurrent_layers():
    for cls in (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D):
        assert type(cls(1, 1).cell) is model_tree.CONV_LSTM_CELL
