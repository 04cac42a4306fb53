"""Compiled training calls of a layer, with a count of traces, and gradients.

On PyTorch a call is eager, as in Keras by default;
tests/layers/test_torch_compile.py tests compiled calls.
"""

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax


class Training:
    """`layer(x, training=True)`, compiled as the backend does it.

    Args:
        layer: A layer; it is built here.
        inputs: The inputs of the calls.
        unknown_sizes: Whether to leave the sizes open where that is possible.
            JAX always knows them.

    Attributes:
        num_traces: How often it was traced; 1 on PyTorch.
    """

    def __init__(self, layer, inputs, unknown_sizes=False):
        self.num_traces = 0
        self._layer = layer
        if not layer.built:
            layer.build(inputs.shape)
        make = getattr(self, f"_{BACKEND}")
        self._call = make(inputs, unknown_sizes)

    def __call__(self, inputs):
        return self._call(ops.convert_to_tensor(inputs))

    def _traced(self, inputs):
        self.num_traces += 1
        return self._layer(inputs, training=True)

    def _tensorflow(self, inputs, unknown_sizes):
        shape = [None] * inputs.ndim if unknown_sizes else inputs.shape
        spec = tf.TensorSpec(shape, "float32")
        return tf.function(
            self._traced, input_signature=[spec], autograph=False
        )

    def _jax(self, inputs, unknown_sizes):
        layer = self._layer

        @jax.jit
        def step(trainable, other, x):
            self.num_traces += 1
            return layer.stateless_call(trainable, other, x, training=True)

        def call(x):
            trainable, other = (
                [v.value for v in variables]
                for variables in (
                    layer.trainable_variables,
                    layer.non_trainable_variables,
                )
            )
            outputs, other = step(trainable, other, x)
            for variable, value in zip(layer.non_trainable_variables, other):
                variable.assign(value)
            return outputs

        return call

    def _torch(self, inputs, unknown_sizes):
        self.num_traces = 1
        return lambda x: self._layer(x, training=True)


def gradient(layer, inputs):
    """The gradient of the sum of the outputs in training, an array."""
    inputs = ops.convert_to_tensor(inputs)
    if not layer.built:
        layer.build(inputs.shape)
    if BACKEND == "jax":
        trainable = [v.value for v in layer.trainable_variables]
        other = [v.value for v in layer.non_trainable_variables]

        def total(inputs):
            outputs, _ = layer.stateless_call(
                trainable, other, inputs, training=True
            )
            return ops.sum(outputs)

        return np.asarray(jax.grad(total)(inputs))
    if BACKEND == "torch":
        inputs.requires_grad_(True)
        ops.sum(layer(inputs, training=True)).backward()
        return ops.convert_to_numpy(inputs.grad)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = ops.sum(layer(inputs, training=True))
    return ops.convert_to_numpy(tape.gradient(total, inputs))
