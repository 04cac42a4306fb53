"""Values of `jit_compile`, with and without compilation of training."""

import keras

# "auto" compiles only on JAX, which runs operation by operation without it.
# torch.compile takes half a minute, and makes no difference for a callback.
JIT_MODES = {
    "tensorflow": ["auto", True],
    "jax": ["auto", False],
    "torch": ["auto"],
}[keras.backend.backend()]
