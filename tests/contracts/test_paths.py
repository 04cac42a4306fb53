"""`paths` relies on a private name for the layers around a layer."""

import keras

from kerasdrop.layers import paths


class Block(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(1, name="dense")

    def build(self, shape):
        pass

    def call(self, inputs):
        return self.dense(inputs)


def test_it_is_that_of_the_weights_which_the_first_call_makes():
    block = Block(name="block")
    assert paths.outer_path(block.dense) is None
    block(keras.ops.ones((1, 2)))
    outer = paths.outer_path(block.dense)
    assert block.dense.kernel.path == f"{outer}/dense/kernel"
    assert outer == "block"


def test_it_stays_that_of_the_first_call():
    dense = keras.layers.Dense(1)
    dense(keras.Input((2,)))
    keras.Sequential([dense], name="outer")(keras.ops.ones((1, 2)))
    assert paths.outer_path(dense) == ""
