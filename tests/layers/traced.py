"""Compiled training calls of a layer, counted, and gradients, by backend."""

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
else:
    import torch
    from torch._dynamo.testing import CompileCounter


class Training:
    """`layer(x, training=True)`, compiled as the backend does it.

    Args:
        layer: A layer; it is built here.
        inputs: What it will be called on.
        unknown_sizes: Whether to leave the sizes open, where that is
            possible: JAX always knows them.

    Attributes:
        num_traces: How often Python ran the call, or PyTorch compiled it.
        expected_traces: How often that is if nothing is compiled again.
    """

    expected_traces = 1

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
        torch._dynamo.reset()
        counter = CompileCounter()  # runs the captured graphs as they are
        layer = self._layer
        compiled = torch.compile(
            lambda x: layer(x, training=True),
            backend=counter,
            dynamic=unknown_sizes,
        )

        def call(x):
            outputs = compiled(x)
            self.num_traces = counter.frame_count
            return outputs

        return call


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
