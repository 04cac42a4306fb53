"""Until a device has done what it was given: calls return before."""

import keras


def wait(result=None):
    """Returns when all that leads to a tensor has been computed.

    Args:
        result: Tensors; only JAX has to be told which.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.block_until_ready(result)
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.test.experimental.sync_devices()
