"""Every way in which a backend runs a function, for tests to compare."""

import keras

BACKEND = keras.backend.backend()

MODES = {
    "jax": ("eager", "jit"),
    "tensorflow": ("eager", "graph", "XLA"),
    "torch": ("eager", "compile"),
}[BACKEND]


def compiled(mode, **kwargs):
    """The compiler of a mode, as a decorator.

    Args:
        mode: One of `MODES`.
        **kwargs: Arguments of `torch.compile`.
    """
    if mode == "eager":
        return lambda function: function
    if BACKEND == "jax":
        import jax

        return jax.jit
    if BACKEND == "torch":
        import torch

        return lambda function: torch.compile(function, **kwargs)
    import tensorflow as tf

    return tf.function(jit_compile=mode == "XLA")
