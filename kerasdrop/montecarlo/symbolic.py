"""Runs a function of tensors on symbolic ones: nothing is computed or moved."""

import keras
from keras import tree


class _Function(keras.layers.Layer):
    """Keras runs what is a layer on symbolic inputs."""

    def __init__(self, function):
        super().__init__(autocast=False, name="symbolic")
        self._function = function
        self.built = True

    def call(self, inputs):
        return self._function(inputs)


def run(function, inputs):
    """Calls `function` as a backend traces it, perhaps more than once.

    Args:
        function: Function of a structure of tensors that returns tensors.
        inputs: Such a structure, of tensors or of anything with a `shape` and
            a `dtype`.
    """
    _Function(function)(
        tree.map_structure(
            lambda tensor: keras.KerasTensor(
                tuple(tensor.shape),
                keras.backend.standardize_dtype(tensor.dtype),
            ),
            inputs,
        )
    )
